"""What the database holds before it is measured. Run inside the product by ``manage.py shell``; each prints JSON."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction

from chat.models import Session
from chat.step_log import Entry
from tests.chat import making
from tests.e2e import long_session as long_session_of

USER = "ada"
_EVENTS_PER_RUN = 50


def login() -> None:
    """A login's session cookie, made without the page: password hashing is not what is measured."""
    user = User.objects.get(username=USER)
    store = SessionStore()
    store["_auth_user_id"] = str(user.pk)
    store["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    store["_auth_user_hash"] = user.get_session_auth_hash()
    store.create()
    print(json.dumps(store.session_key))


def sessions(count: int) -> None:
    """New sessions without messages."""
    user = User.objects.get(username=USER)
    made = Session.objects.bulk_create(Session(owner=user, agent_name="researcher") for _ in range(count))
    print(json.dumps([str(session.pk) for session in made]))


@transaction.atomic
def long_session(events: int) -> None:
    """A session with so many stored events, in runs of nine model calls with a tool each."""
    session = making.session(User.objects.get(username=USER), title="A long conversation")
    for number in range(events // _EVENTS_PER_RUN):
        message = f"Question {number}: how high is the tide?"
        run = making.run(session, message=message)
        making.append(run, *_run(message))
        making.end(run)
    print(json.dumps(str(session.pk)))


def large_result(length: int) -> None:
    """A session with a tool's result of so many characters."""
    print(json.dumps(long_session_of.write(USER, message="A large result", thoughts=5, result_length=length)))


def _run(message: str) -> list[Entry]:
    entries = [
        Entry(
            "reasoning_start",
            {"agent": "researcher", "message": message, "user": USER, "enable_reasoning": True, "timestamp": 1.0},
        ),
        _step("start", 0, message=message),
    ]
    for i in range(1, 10):
        call = {"tool_name": "python", "tool_call_id": f"call_{i}"}
        arguments = {"code": f"level = {i} * 0.35\nprint(level)"}
        entries += [
            _step("iteration_start", i),
            _step(
                "thought", i, "The tide follows the moon; the range here is known. " * 4, step=3 * i - 2, duration_ms=9
            ),
            _step("tool_use", i, step=3 * i - 1, arguments=arguments, **call),
            _step(
                "tool_result",
                i,
                "0.35\n" * 60,
                step=3 * i,
                ok=True,
                duration_ms=4,
                truncated=False,
                content_length=300,
                **call,
            ),
            _step("iteration_end", i),
        ]
    entries += [
        _step(
            "final_answer", 9, "The **tide** is about `3.15` m high.\n\n- twice a day\n" * 6, step=28, duration_ms=40
        ),
        _step("complete", 9, total_iterations=9),
        Entry(
            "reasoning_complete",
            {
                "status": "completed",
                "total_iterations": 9,
                "duration_ms": 900,
                "usage": {"input_tokens": 900, "output_tokens": 300, "estimated": False},
            },
        ),
    ]
    return entries


def _step(kind: str, iteration: int, content: str = "", **more: Any) -> Entry:
    return Entry(
        "reasoning_step",
        {"type": kind, "content": content, "iteration": iteration, "timestamp": 1.0 + iteration, **more},
    )
