"""Sessions that had read private data before there was a mark for that are marked by the migration."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.serving import ROOT


def migrate(folder: Path, *to: str) -> None:
    """Migrate a database on SQLite to an earlier version."""
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0", *to],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(folder), "DATABASE_URL": ""},
        check=True,
        timeout=120,
    )


def insert(file: sqlite3.Connection, table: str, **row: Any) -> None:
    columns = ", ".join(row)
    file.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


def test_earlier_sessions_are_marked_by_what_they_have_read(tmp_path: Path) -> None:
    migrate(tmp_path, "chat", "0004")
    migrate(tmp_path, "auth")
    now = "2026-01-01 00:00:00"
    reads = {"a" * 32: ("search_history", True), "b" * 32: ("search_history", False), "c" * 32: ("fetch_page", True)}
    with sqlite3.connect(tmp_path / "thinkaloud.sqlite3") as file:
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
    migrate(tmp_path, "chat", "0007")
    with sqlite3.connect(tmp_path / "thinkaloud.sqlite3") as file:
        marked = dict(file.execute("SELECT id, has_read_private FROM chat_session"))
    file.close()
    assert marked == {"a" * 32: 1, "b" * 32: 0, "c" * 32: 0}
