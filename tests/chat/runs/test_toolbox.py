"""Sessions that had read private data before there was a mark for that are marked by the migration."""

import sqlite3
from pathlib import Path
from typing import Any

from tests.chat import databases

_ACCOUNTS = ("auth", "0012_alter_user_first_name_max_length")
BEFORE, AFTER = [("chat", "0004_schedules"), _ACCOUNTS], [("chat", "0007_tool_servers"), _ACCOUNTS]


def insert(file: sqlite3.Connection, table: str, **row: Any) -> None:
    columns = ", ".join(row)
    file.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


def test_earlier_sessions_are_marked_by_what_they_have_read(tmp_path: Path, django_db_blocker: Any) -> None:
    path = tmp_path / "thinkaloud.sqlite3"
    with django_db_blocker.unblock(), databases.postgresql(f"sqlite:///{path}", has_tables=True):
        databases.single_steps().migrate(BEFORE)
    now = "2026-01-01 00:00:00"
    reads = {"a" * 32: ("search_history", True), "b" * 32: ("search_history", False), "c" * 32: ("fetch_page", True)}
    with sqlite3.connect(path) as file:
        insert(
            file, "auth_user", id=1, password="", is_superuser=0, username="bo", last_name="", first_name="", email="",
            is_staff=0, is_active=1, date_joined=now,
        )  # fmt: skip
        for number, (session, (tool, ok)) in enumerate(reads.items(), start=1):
            insert(
                file, "chat_session", id=session, owner_id=1, title="", agent_name="writer", archived=0, last_seq=1,
                status="", created_at=now, active_at=now,
            )  # fmt: skip
            insert(
                file, "chat_run", id=session, session_id=session, number=1, user_id=1, client_message_id="1", message="",
                agent_name="writer", enable_reasoning=1, origin="chat", status="completed", created_at=now, owner="",
                fence=0, iterations=0, input_tokens=0, output_tokens=0, usage_estimated=0, code="",
            )  # fmt: skip
            insert(
                file, "chat_step", id=number, session_id=session, run_id=session, seq=1, position=1, event_id=session,
                event="reasoning_step", type="tool_result", iteration=1, tool_name=tool, ok=ok, body="{}", created_at=now,
            )  # fmt: skip
    file.close()
    with django_db_blocker.unblock(), databases.postgresql(f"sqlite:///{path}", has_tables=True):
        databases.single_steps().migrate(AFTER)
    with sqlite3.connect(path) as file:
        marked = dict(file.execute("SELECT id, has_read_private FROM chat_session"))
    file.close()
    assert marked == {"a" * 32: 1, "b" * 32: 0, "c" * 32: 0}
