"""The JSON API, under ``/api/``: its calls, their authentication, and their errors."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, ValidationError

from agents.sentence import Sentence
from chat.api import agents as agent_api
from chat.api import agui as agui_api
from chat.api import branches as branch_api
from chat.api import calls as call_api
from chat.api import cases as case_api
from chat.api import events as event_api
from chat.api import exports as export_api
from chat.api import files as file_api
from chat.api import notes as note_api
from chat.api import owners as owner_api
from chat.api import runs as run_api
from chat.api import schedules as schedule_api
from chat.api import search as search_api
from chat.api import session_stream as stream_api
from chat.api import sessions as session_api
from chat.api import set_runs as set_run_api
from chat.api import set_shares as set_share_api
from chat.api import shares as share_api
from chat.api import tokens as token_api
from chat.api import waiting as waiting_api
from chat.api.askers import ForgedRequest, NotLoggedIn, OutOfScope
from chat.api.auth import PAGES_ALONE
from chat.api.errors import (
    bad_token,
    error_response,
    internal_error,
    invalid_input,
    not_logged_in,
    out_of_scope,
    refused_command,
    storage_error,
)
from chat.protocol import BadFrame
from chat.runs.admission import Refused
from chat.schedules.commands import BadField
from chat.security.tokens import BadToken

api = NinjaAPI(
    title="Thinkaloud",
    version="1",
    description=(
        "Programs send a token, made under *Account*, as `Authorization: Bearer tk_…`: what it must hold is said of each call, and "
        "`manage` holds `ask`, which holds `read`. Pages log in at `/accounts/login/`; then the session cookie is the key, and a "
        "request that changes something carries the value of the cookie `csrftoken` in the header `X-CSRFToken`. With both, the "
        "token counts. A page may name in `X-Page-User` the number of the account that it was made for; where another is logged in "
        "by then, it is refused with 403. Such a page is told with each error what its message was made of. Times are Unix seconds."
    ),
    urls_namespace="api",
    docs_url=None,
    openapi_url=None,
    auth=PAGES_ALONE,
)
_handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
    Exception: internal_error,
    DatabaseError: storage_error,
    ValidationError: invalid_input,
    **dict.fromkeys((AuthenticationError, NotLoggedIn), lambda *_: not_logged_in()),
    BadToken: bad_token,
    OutOfScope: out_of_scope,
    ForgedRequest: lambda _, failure: error_response("not_allowed", failure.args[0]),
    # A form that Django cannot parse, which it tries while looking for a CSRF token.
    **dict.fromkeys(
        (MultiPartParserError, BadRequest, SuspiciousOperation, UnreadablePostError),
        lambda *_: error_response("bad_json", Sentence("The body must be JSON, with Content-Type: application/json.")),
    ),
    RequestDataTooBig: lambda *_: error_response("too_large", Sentence("The request is too large.")),
    BadFrame: lambda _, failure: error_response(failure.code, failure.message),
    Refused: refused_command,
    BadField: lambda _, failure: error_response(failure.code, f"{failure.field}: {failure.message}"),
}

for kind, handler in _handlers.items():
    api.add_exception_handler(kind, handler)
for module in (
    agent_api,
    # Before the sessions' routes, which would match its own.
    export_api,
    session_api,
    event_api,
    stream_api,
    run_api,
    waiting_api,
    call_api,
    search_api,
    file_api,
    schedule_api,
    agui_api,
    share_api,
    branch_api,
    owner_api,
    note_api,
    case_api,
    set_run_api,
    set_share_api,
    token_api,
):
    api.add_router("", module.router)
