"""Databases with all tables: made once, by whichever process of a parallel run needs them first, then copied; making takes seconds."""

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


def restore_tables(address: str) -> None:
    """Make all tables in an empty PostgreSQL database."""
    dump = made_once("tables.dump", lambda path: _make_dump(address.rpartition("/")[0], path))
    program = services.postgres_program("pg_restore")
    subprocess.run([program, "--no-owner", "--exit-on-error", f"--dbname={address}", dump], check=True)


def has_tables(address: str) -> bool:
    """Whether the tables are in a PostgreSQL database."""
    with psycopg.connect(address) as connection:
        return connection.execute("SELECT to_regclass('auth_user') IS NOT NULL").fetchone() == (True,)


def _make_dump(server: str, path: Path) -> None:
    """Make the dump on this PostgreSQL server."""
    with services.database(f"{server}/postgres", f"dumped_{uuid.uuid4().hex}") as address:
        migrate(DATABASE_URL=address)
        program = services.postgres_program("pg_dump")
        subprocess.run([program, "--format=custom", "--compress=0", f"--file={path}", address], check=True)


def migrate(**environment: str) -> None:
    """Migrate a database, by a process of its own; ``environment`` says which."""
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
