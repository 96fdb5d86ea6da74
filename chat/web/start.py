"""The start page's form when the browser itself sends it, because scripts do not run, or not yet."""

from hashlib import sha256
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from chat import protocol
from chat.api.errors import status_of
from chat.protocol import BadFrame
from chat.rendering.sentences import translate_sentence
from chat.runs import commands as run_commands
from chat.runs.admission import Refused
from chat.web.acts import form_action
from chat.web.errors import refuse_forgery
from chat.web.page import user_of
from chat.web.sessions import start_page


@form_action
def begin(request: HttpRequest) -> HttpResponse:
    """Create a session with the message, and go there; if it is refused, show the start page again, with the text and the reason."""
    # Browsers send line ends as CRLF.
    message = request.POST.get("message", "").replace("\r\n", "\n")
    agent_name, enable_reasoning = request.POST.get("agent_name", ""), "enable_reasoning" in request.POST
    if request.POST.get("user") != str(user_of(request).pk):
        # Another user has logged in since, who must neither send nor see what was typed.
        return refuse_forgery(request)
    # A form that is sent twice creates one session; another text from the same page creates another.
    key = sha256(repr((request.POST.get("form_key"), message, agent_name, enable_reasoning)).encode()).hexdigest()
    values = {"message": message, "agent_name": agent_name, "enable_reasoning": enable_reasoning}
    try:
        protocol.validate_payload(protocol.Chat, values)
        accepted = async_to_sync(run_commands.begin)(
            user_of(request), message=message, agent_name=agent_name, enable_reasoning=enable_reasoning, key=key
        )
    except (BadFrame, Refused) as refused:
        return _refuse(request, refused, **values)
    return redirect("session", accepted.session_id)


def _refuse(request: HttpRequest, refused: BadFrame | Refused, **values: Any) -> HttpResponse:
    answer = start_page(request, **values, refused=translate_sentence(refused.message))
    answer.status_code = status_of(refused.code)
    return answer
