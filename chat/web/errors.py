"""What is shown in place of an answer that failed."""

import sys

from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

#: When to try again where the database was away.
_RETRY_AFTER_S = 5


def server_error(request: HttpRequest) -> HttpResponse:
    """What is shown in place of an answer that failed with us, in words of its own where it was the database that did; reads nothing."""
    away = isinstance(sys.exc_info()[1], DatabaseError)
    answer = HttpResponse(
        render_to_string("503.html" if away else "500.html", {"request": request}), status=503 if away else 500
    )
    if away:
        answer["Retry-After"] = str(_RETRY_AFTER_S)
    return answer
