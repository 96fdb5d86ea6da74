"""Rows with which tests of the log and of sockets begin."""

from hashlib import sha256
from typing import Any, cast, get_args

from django.contrib.auth.models import Permission

from agents.steps import StepData
from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.models import LIVE, File, Run, RunStatus, Session
from chat.protocol.frames import type_of
from chat.runs import state as run_state
from chat.runs.state import End
from chat.store import files, step_log
from chat.store.step_log import Entry, Stored


def user(name: str = "ada", **fields: Any) -> User:
    """A user who can log in."""
    return User.objects.create_user(name, password="correct horse 17", **fields)


def staff(*permissions: str, name: str = "staff") -> User:
    """A member of staff with only these permissions."""
    made = user(name, is_staff=True)
    permit(made, *permissions)
    return made


def permit(to: User, *permissions: str) -> None:
    """Give somebody just this permission, as the admin does: `chat.view_session`."""
    to.user_permissions.set(
        Permission.objects.get(content_type__app_label=app, codename=name)
        for app, name in (each.split(".") for each in permissions)
    )


def session(owner: User, **fields: Any) -> Session:
    """A session without runs."""
    return Session.objects.create(owner=owner, agent_name=fields.pop("agent_name", "researcher"), **fields)


def run(of: Session, *, message: str = "Why?", owned_by: str = "process-1", **fields: Any) -> Run:
    """A run at work; with an empty ``owned_by`` it is queued."""
    assert isinstance(of.owner, User)
    made = Run(
        session=of,
        number=of.runs.count() + 1,
        user=fields.pop("user", of.owner),
        message=message,
        agent_name=of.agent_name,
        client_message_id=fields.pop("client_message_id", f"m{of.runs.count() + 1}"),
        **fields,
    )
    run_state.enqueue(made, title=of.title, is_first=not of.runs.filter(status__in=LIVE).exists())
    if owned_by:
        made.current_version = catalog.current_of(made.agent_name, of.owner.pk)
        assert run_state.claim(made, owned_by)
    return made


def file(owner: User, text: str = "Tea: 3 euros", *used_in: Session, name: str = "notes.txt") -> File:
    """A text file, which the owner's sessions may use."""
    content = text.encode()
    made = files.store_file(
        owner.pk, name=name, media_type="text/plain", content=content, sha256=sha256(content).hexdigest()
    )
    for each in used_in:
        files.attach(each.pk, owner.pk, [made.pk])
    return made


#: The fields of a step where a test does not set them.
_USUAL: dict[str, Any] = {
    "content": "",
    "iteration": 1,
    "timestamp": 1.5,
    "step": 1,
    "duration_ms": 7,
    "message": "Why?",
    "tool_name": "python",
    "tool_call_id": "1",
    "arguments": {},
    "ok": True,
    "truncated": False,
    "max_iterations": 20,
    "total_iterations": 1,
    "error": "It failed.",
    "code": "internal",
    "deadline": 2.5,
    "unanswered": "deny",
}
_STEPS = {type_of(kind): kind for kind in get_args(StepData)}


def step(kind: str, content: str = "", *, full: str | None = None, numbered: bool = True, **given: Any) -> Entry:
    """A step of this type with all fields that it must have; ``full`` is the whole text of one that is cut."""
    fields = {
        **_USUAL,
        "type": kind,
        "content": content,
        "content_length": len(full or content),
        "truncated": full is not None,
    }
    data = {name: fields[name] for name in _STEPS[kind].__required_keys__} | given
    return Entry("reasoning_step", cast(StepData, data), full_content=full, numbered=numbered)


def thought(text: str, number: int = 1) -> Entry:
    """A finished thought."""
    return step("thought", text, step=number)


def append(to: Run, *entries: Entry) -> list[Stored]:
    """Store entries as the run's owner does."""
    return step_log.append(to, entries)


def end(of: Run, status: RunStatus = RunStatus.COMPLETED) -> None:
    """End a run."""
    assert run_state.finish(of.pk, of.session_id, End(status))
