"""Before serving: tables, static files and the first account; each only when necessary."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import override_settings

from chat.accounts.models import User
from chat.models import Agent
from config import prepare
from tests import prepared

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db
class TestFirstAccount:
    """The account that a new installation gets."""

    def test_it_is_admin_with_a_password_shown_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        prepare.create_first_account()
        found = re.search(r"Log in as admin with the password (\S+) ", capsys.readouterr().out)
        assert found is not None
        admin = User.objects.get(username="admin")
        assert admin.is_superuser
        assert admin.is_staff
        assert admin.check_password(found[1])
        prepare.create_first_account()
        assert capsys.readouterr().out == ""
        assert User.objects.count() == 1

    def test_it_is_the_given_one_and_its_password_is_not_shown(
        self, settings: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.FIRST_ACCOUNT = {"username": "mei", "password": "chosen", "email": "mei@example.org"}
        prepare.create_first_account()
        mei = User.objects.get()
        assert (mei.username, mei.email, mei.check_password("chosen")) == ("mei", "mei@example.org", True)
        assert capsys.readouterr().out == ""

    def test_there_is_none_where_somebody_is_already(self, capsys: pytest.CaptureFixture[str]) -> None:
        User.objects.create_user("someone")
        prepare.create_first_account()
        assert [user.username for user in User.objects.all()] == ["someone"]
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(("field", "value"), [("username", "two words"), ("email", "nobody")])
    def test_an_invalid_first_account_is_one_line(self, settings: Any, field: str, value: str) -> None:
        settings.FIRST_ACCOUNT = {"username": "admin", "password": "", "email": "", field: value}
        with pytest.raises(
            SystemExit, match=f"^Thinkaloud cannot start: DJANGO_SUPERUSER_{field.upper()} cannot be used: "
        ):
            prepare.create_first_account()


@pytest.mark.django_db
def test_tables_are_migrated_when_they_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(prepare, "call_command", lambda name, **_: asked.append(name))
    with override_settings(DATA_DIR=tmp_path):
        prepare.migrate_tables()
        prepare.migrate_tables()
        assert asked == ["migrate"], "the second time there was nothing to do"
        Agent.objects.filter(name="writer").update(name="former")
        prepare.migrate_tables()
        assert Agent.objects.filter(name="writer").exists(), "what comes with the program is made all the same"
        (last,) = MigrationRecorder.Migration.objects.filter(app="chat").order_by("-name")[:1]
        last.delete()
        prepare.migrate_tables()
        assert asked == ["migrate"] * 2, "its tables are an earlier version's"
        last.save()
        monkeypatch.setitem(connection.settings_dict, "NAME", "another")
        prepare.migrate_tables()
        assert asked == ["migrate"] * 3, "another database"


def test_static_files_are_collected_when_one_has_changed(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "static"
    source.mkdir()
    (source / "a.css").write_text("a {}")
    with override_settings(STATICFILES_DIRS=[source], STATIC_ROOT=root, INSTALLED_APPS=["django.contrib.staticfiles"]):
        prepare.collect_static_files()
        assert list(paths(root)) == ["a.css"]
        (root / "staticfiles.json").write_text("untouched")
        prepare.collect_static_files()
        assert (root / "staticfiles.json").read_text() == "untouched"
        (source / "b.css").write_text("b {}")
        prepare.collect_static_files()
        assert sorted(paths(root)) == ["a.css", "b.css"]
        (source / "a.css").unlink()
        prepare.collect_static_files()
        assert list(paths(root)) == ["b.css"]


def test_what_others_keep_in_the_folder_of_static_files_stays(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "www"
    source.mkdir()
    root.mkdir()
    (source / "a.css").write_text("a {}")
    (root / "letters.txt").write_text("years of letters")
    with override_settings(STATICFILES_DIRS=[source], STATIC_ROOT=root, INSTALLED_APPS=["django.contrib.staticfiles"]):
        prepare.collect_static_files()
    assert list(paths(root)) == ["a.css"]
    assert (root / "letters.txt").read_text() == "years of letters"


def paths(root: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((root / "staticfiles.json").read_text())["paths"]
    return found


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        (
            {"DATABASE_URL": "postgres://me:hunter2@127.0.0.1:1/x"},
            "the database of DATABASE_URL (postgresql) cannot be used: ",
        ),
        ({"PORT": "99999"}, "PORT must be a whole number from 1 to 65535, not '99999'."),
        ({"STATIC_ROOT": "/proc/x"}, "static files cannot be collected in /proc/x ("),
    ],
)
def test_a_start_that_cannot_be_is_one_line(tmp_path: Path, environ: dict[str, str], complaint: str) -> None:
    prepared.copy_tables(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "config.prepare", "serve"],
        cwd=PROJECT,
        env={**os.environ, "DATA_DIR": str(tmp_path), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Thinkaloud cannot start: {complaint}")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def preparing(address: str, folder: Path) -> subprocess.Popen[str]:
    named = {"DATABASE_URL": address, "REDIS_URL": "redis://127.0.0.1:1/0", "DATA_DIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-m", "config.prepare"],
        cwd=PROJECT,
        env={**os.environ, **named, "STATIC_ROOT": str(prepared.collect_static())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_database_of_another_program_is_one_line(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "thinkaloud.sqlite3")) as other:
        other.execute("CREATE TABLE auth_user (name)")
        other.execute("CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app, name, applied)")
        other.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('auth', '0001_initial', '2024-01-01')"
        )
        other.commit()
    done = subprocess.run(
        [sys.executable, "-m", "config.prepare", "serve"],
        cwd=PROJECT,
        env={**os.environ, "DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Thinkaloud cannot start: ")
    assert done.stderr.count("\n") == 1


#: What an operator may have done to a database that has its tables, and the error at the start. A further one is one line.
REFUSING_DATABASES = [
    (
        "ALTER DATABASE %s SET default_transaction_read_only TO on",
        "cannot be written: cannot execute DELETE in a read-only transaction.",
    ),
    (
        "ALTER TABLE django_migrations RENAME COLUMN name TO named",
        "cannot be read: column django_migrations.name does not exist LINE 1: ",
    ),
]


@pytest.mark.parametrize(("act", "problem"), REFUSING_DATABASES)
def test_a_database_that_refuses_is_one_line(postgres_url: str, tmp_path: Path, act: str, problem: str) -> None:
    prepared.restore_tables(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as operator:
        operator.execute(act.replace("%s", postgres_url.rpartition("/")[2]).encode())
    done = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", "0"],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": postgres_url, "DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"CommandError: The database of DATABASE_URL {problem}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_new_database_in_an_encoding_that_lacks_characters_is_one_line(postgres_server: str, tmp_path: Path) -> None:
    """Rather than that each message in another language fails."""
    with psycopg.connect(postgres_server, autocommit=True) as operator:
        operator.execute("CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            asked = preparing(f"{postgres_server.rpartition('/')[0]}/latin1", tmp_path)
            output, _ = asked.communicate(timeout=120)
        finally:
            operator.execute("DROP DATABASE latin1 WITH (FORCE)")
    assert asked.returncode == 1
    assert output.startswith("Thinkaloud cannot start: the database of DATABASE_URL has the encoding LATIN1, which ")
    assert output.count("\n") == 1


def test_several_prepare_one_database_at_the_same_moment(postgres_url: str, tmp_path: Path) -> None:
    """Three processes begin at once with an empty PostgreSQL, locked until all of them wait: each succeeds, and one account is made."""
    with psycopg.connect(postgres_url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [prepare._LOCK])
        processes = [preparing(postgres_url, tmp_path / str(n)) for n in range(3)]
        began = [process.stdout.readline() for process in processes if process.stdout is not None]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, outputs
    assert began == ["Another process prepares this database; waiting for it.\n"] * 3
    assert sum("Log in as admin with the password" in one for one in outputs) == 1
    with psycopg.connect(postgres_url) as look:
        assert look.execute("SELECT username FROM auth_user").fetchall() == [("admin",)]


def test_who_prepares_and_dies_keeps_nobody_waiting(postgres_url: str, tmp_path: Path) -> None:
    """One process is killed while it waits, another while it prepares: the lock is released with its connection."""
    prepared.restore_tables(postgres_url)
    with psycopg.connect(postgres_url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [prepare._LOCK])
        killed, other = preparing(postgres_url, tmp_path / "killed"), preparing(postgres_url, tmp_path / "other")
        assert killed.stdout is not None
        assert "waiting" in killed.stdout.readline()
        killed.kill()
        killed.communicate()
        # As if the one that holds it were killed: its connection is gone, and nothing else is done.
        holder.close()
    assert other.wait(120) == 0, other.communicate()
    other.communicate()
