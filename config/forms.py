"""Forms that cannot be parsed are refused before anything reads them: otherwise Django would fail on some of them later."""

from typing import Any, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext as _

from chat.protocol import ErrorCode
from chat.web.errors import refuse_program

_FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
#: The exceptions for an unknown charset, or one that is not for text.
_UNREADABLE = (MultiPartParserError, BadRequest, SuspiciousOperation, UnreadablePostError, LookupError, ValueError)


class FormsMiddleware(MiddlewareMixin):
    """Passes on requests without a form, and forms that can be parsed."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Read a form; return an error if it cannot be parsed."""
        if request.method != "POST" or request.content_type not in _FORMS:
            return None
        try:
            request.POST  # noqa: B018 - parsed on first access
        except RequestDataTooBig:
            return _refuse(request, 413, "too_large", _("The request is too large."))
        except _UNREADABLE:
            return _refuse(request, 400, "bad_frame", _("The form cannot be read."))
        return None

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, or pass the request on; a form is parsed in a thread, because it may be large."""
        is_form = request.method == "POST" and request.content_type in _FORMS
        refusal = await sync_to_async(self.process_request)(request) if is_form else None
        return refusal or await cast(Any, self.get_response)(request)


def _refuse(request: HttpRequest, status: int, code: ErrorCode, message: str) -> HttpResponse:
    response = refuse_program(request, status, code, message)
    return response or HttpResponse(f"{message}\n", status=status, content_type="text/plain; charset=utf-8")
