"""Databases with all tables, and static files: made once, by whichever process of a parallel run needs them first; making takes seconds."""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests import services

ROOT = Path(__file__).resolve().parent.parent


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A file or folder that all processes of a test run share; ``make`` makes it at the path that it is given."""
    shared = Path(os.environ["TESTS_SHARED"])
    made = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            # Under another name until it is complete.
            with tempfile.TemporaryDirectory(dir=shared) as folder:
                make(Path(folder) / name)
                (Path(folder) / name).rename(made)
    return made


def copy_tables(data_dir: Path) -> Path:
    """Put a database file with all tables, but no users, where the product looks for it in a data folder; returns its path."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(shutil.copy(made_once("tables.sqlite3", _make_file), data_dir / "thinkaloud.sqlite3"))


def _make_file(path: Path) -> None:
    migrate(DATA_DIR=str(path.parent), DATABASE_URL="")
    made = path.with_name("thinkaloud.sqlite3")
    with contextlib.closing(sqlite3.connect(made)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    made.rename(path)


def collect_static() -> Path:
    """The folder of the static files as a start collects them, for starts that are tested for something else: ``STATIC_ROOT``."""
    return made_once("static", _collect)


def _collect(folder: Path) -> None:
    act = "import django; django.setup(); from config.prepare import collect_static_files; collect_static_files()"
    _run("-c", act, STATIC_ROOT=str(folder))


def restore_tables(address: str) -> None:
    """Make all tables in an empty PostgreSQL database."""
    fill_postgres("tables.dump", address, lambda empty: migrate(DATABASE_URL=empty))


def fill_postgres(name: str, address: str, make: Callable[[str], None]) -> None:
    """Let an empty PostgreSQL database be as ``make`` makes another, once, on whichever server asks first."""

    def dump(path: Path) -> None:
        with services.database(f"{address.rpartition('/')[0]}/postgres", f"dumped_{uuid.uuid4().hex}") as empty:
            make(empty)
            program = services.postgres_program("pg_dump")
            subprocess.run([program, "--format=custom", "--compress=0", f"--file={path}", empty], check=True)

    made, program = made_once(name, dump), services.postgres_program("pg_restore")
    subprocess.run([program, "--no-owner", "--exit-on-error", f"--dbname={address}", made], check=True)


def has_tables(address: str) -> bool:
    """Whether the tables are in a PostgreSQL database."""
    with psycopg.connect(address) as connection:
        return connection.execute("SELECT to_regclass('auth_user') IS NOT NULL").fetchone() == (True,)


def migrate(**environment: str) -> None:
    """Migrate a database, by a process of its own; ``environment`` says which."""
    _run("manage.py", "migrate", "-v0", **environment)


def _run(*arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
