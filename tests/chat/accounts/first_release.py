"""A database as the first release left it when its process was killed: its tables, and what a user had in them."""

import json
import uuid
from datetime import timedelta
from typing import Any

from django.apps.registry import Apps
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from chat.store import search
from chat.store.search import Indexed
from tests.chat import databases

#: The tables of that release.
STATE = [
    ("chat", "0003_process"),
    ("admin", "0003_logentry_add_action_flag_choices"),
    ("auth", "0012_alter_user_first_name_max_length"),
    ("contenttypes", "0002_remove_content_type_name"),
    ("sessions", "0001_initial"),
]
LONG = "The tide is high. " * 2_000
#: For each run: the message, the status, and its stored events with their data.
RUNS: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "When is high tide?": (
        "completed",
        [
            ("reasoning_step", {"type": "thought", "content": "Ask the okapi at the quay.", "iteration": 1, "step": 1}),
            (
                "reasoning_step",
                {
                    "type": "tool_use",
                    "tool_name": "python",
                    "tool_call_id": "c1",
                    "arguments": {"code": "1"},
                    "content": "",
                    "iteration": 1,
                    "step": 2,
                },
            ),
            (
                "reasoning_step",
                {
                    "type": "tool_result",
                    "tool_name": "python",
                    "tool_call_id": "c1",
                    "ok": True,
                    "content": LONG[:2_000],
                    "content_length": len(LONG),
                    "truncated": True,
                    "iteration": 1,
                    "step": 3,
                },
            ),
            ("reasoning_step", {"type": "final_answer", "content": "At **noon**.", "iteration": 2, "step": 4}),
            (
                "reasoning_complete",
                {
                    "status": "completed",
                    "total_iterations": 2,
                    "duration_ms": 9,
                    "usage": {"input_tokens": 9, "output_tokens": 3, "estimated": False},
                },
            ),
        ],
    ),
    "And low tide?": (
        "running",
        [("reasoning_step", {"type": "thought", "content": "Six hours later.", "iteration": 1, "step": 1})],
    ),
    "Thank you": ("queued", []),
}


def make_first(password: str) -> uuid.UUID:
    """Make its tables and fill them; returns the session's identifier."""
    databases.single_steps().migrate(STATE)
    with transaction.atomic():
        return _fill(databases.single_steps().loader.project_state(STATE).apps, password)


def _fill(tables: Apps, password: str) -> uuid.UUID:
    now, hashed = timezone.now() - timedelta(hours=1), make_password(password)
    people = {}
    for number, name in enumerate(("ada", "bo", "cy")):
        is_staff = number == 0
        fields = {"email": f"{name}@example.org", "password": hashed, "is_staff": is_staff, "is_superuser": is_staff}
        people[name] = tables.get_model("auth", "User").objects.create(username=name, **fields)
    session = tables.get_model("chat", "Session").objects.create(
        owner=people["bo"], title="Tides", agent_name="researcher", status="running"
    )
    seq = 0
    for number, (message, (status, further)) in enumerate(RUNS.items(), 1):
        run = tables.get_model("chat", "Run").objects.create(
            session=session,
            number=number,
            client_message_id=f"m{number}",
            message=message,
            agent_name="researcher",
            status=status,
            created_at=now,
            user=people["bo"],
            owner="a:1:process that is gone" if status == "running" else "",
            heartbeat_at=now if status == "running" else None,
        )
        start = {"agent": "researcher", "message": message, "user": "bo", "enable_reasoning": True, "timestamp": 1.5}
        events = [("reasoning_start", start), *further] if status != "queued" else []
        for position, (event, data) in enumerate(events, 1):
            seq += 1
            _store(tables, run, seq, position, event, data)
        if status == "running":
            tables.get_model("chat", "Draft").objects.create(
                run=run, number=2, type="final_answer", text="At si", updated_at=now
            )
    tables.get_model("chat", "Session").objects.filter(pk=session.pk).update(last_seq=seq)
    found: uuid.UUID = session.pk
    return found


def _store(tables: Apps, run: Any, seq: int, position: int, event: str, data: dict[str, Any]) -> None:
    fields = {"timestamp": 2.5, **data} if event == "reasoning_step" else data
    kind = fields.get("type", "")
    step = tables.get_model("chat", "Step").objects.create(
        session=run.session,
        run=run,
        seq=seq,
        position=position,
        event=event,
        type=kind,
        number=fields.get("step"),
        iteration=fields.get("iteration", 0),
        tool_name=fields.get("tool_name", ""),
        ok=fields.get("ok"),
        body=json.dumps(fields),
        created_at=timezone.now(),
    )
    whole = LONG if fields.get("truncated") else None
    if whole is not None:
        tables.get_model("chat", "StepContent").objects.create(step=step, content=whole)
    search.index(run.session_id, [Indexed(step.pk, event, kind, step.body, True, whole)])
