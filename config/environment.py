"""Typed reads of the environment: each variable's type, default and range, and one line for people when a value is wrong."""

import contextlib
import json
import os
import re
import secrets
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from agents.addresses import BadAddress, authority, mask_text, split_address
from config.addresses import AddressRefused
from config.env_file import UnreadableFile, joined_lines, misspelt_names, read_file
from config.redis_address import RedisAddress, parse_redis

#: Left to itself, a pool that cannot connect tries more and more seldom, for five minutes: it would miss a database that is back. Begun
#: anew every ten seconds, it tries at least every four.
_POSTGRES_POOL = {"min_size": 1, "max_size": 16, "timeout": 10, "reconnect_timeout": 10}
#: A process that is frozen in the middle of a transaction holds its locks for no longer than this, nobody waits longer for one,
#: and a server that has vanished without a word is noticed.
POSTGRES_SESSION = {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "10s"}
_POSTGRES_PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
MOST = sys.maxsize


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """The address by which people reach this installation, taken apart."""

    origin: str = ""
    host: str = ""
    secure: bool = False
    #: Below which path of that host, as ``/app``; empty: it has the host to itself.
    path: str = ""


class Environment:
    """Reads variables and remembers what was wrong with them, so that one start tells of every bad one.

    A variable that is empty counts as unset. A bad value is noted in `problems` and stands at its default until the reader's
    owner looks there.
    """

    def __init__(self, values: Mapping[str, str], *, base: Path, written: Mapping[str, str] | None = None) -> None:
        self._values = values
        self._base = base
        #: What of it a file says.
        self._written = written or {}
        #: The variables that were read, in order.
        self.names: list[str] = []
        #: Those of them that have a value.
        self.given: set[str] = set()
        #: One sentence for each bad value; it names the variable.
        self.problems: list[str] = []

    @classmethod
    def load(cls, base: Path) -> "Environment":
        """Read the process's environment over the ``.env`` file of the project's folder."""
        try:
            written = read_file(base / ".env")
        except UnreadableFile as unreadable:
            env = cls(os.environ, base=base)
            env.problems.append(str(unreadable))
            return env
        return cls(written | dict(os.environ), base=base, written=written)

    def check_names(self, also_known: Collection[str]) -> None:
        """After everything was read: note names that look like a setting and are none, and settings that share a line.

        ``also_known`` are names that others read.
        """
        known = {*self.names, *also_known}
        self.problems += misspelt_names(self._written, set(self._values) - set(self._written), known)
        self.problems += joined_lines(self._written, known)

    def text(self, name: str, default: str = "") -> str:
        """Return a variable as it stands, without surrounding blanks."""
        return self._raw(name) or default

    def words(self, name: str, default: Sequence[str] = ()) -> list[str]:
        """Return a comma-separated list."""
        return [word.strip() for word in self._raw(name).split(",") if word.strip()] or list(default)

    def networks(self, name: str, default: Sequence[str]) -> list[str]:
        """Return a comma-separated list of addresses and networks."""
        words = self.words(name, default)
        for word in words:
            try:
                ip_network(word, strict=False)
            except ValueError:
                self.refuse(name, "must be addresses or networks such as 10.0.0.0/8", word)
                return list(default)
        return words

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a yes or no."""
        raw = self._raw(name)
        if raw and raw.lower() not in TRUE | FALSE:
            self.refuse(name, "must be true or false", raw)
        elif raw:
            return raw.lower() in TRUE
        return default

    def whole(self, name: str, default: int, *, least: int = 0, most: int = MOST) -> int:
        """Return a whole number within its range."""
        raw = self._raw(name)
        if not raw:
            return default
        if re.fullmatch(r"[+-]?[0-9]{1,18}", raw) and least <= int(raw) <= most:
            return int(raw)
        self.refuse(name, f"must be a whole number {_range(least, most)}", raw)
        return default

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """Return a number, with decimals where wanted, within its range."""
        raw = self._raw(name)
        if not raw:
            return default
        if re.fullmatch(r"[+-]?([0-9]{1,18}(\.[0-9]*)?|\.[0-9]+)", raw) and least <= float(raw) <= most:
            return float(raw)
        self.refuse(name, f"must be a number {_range(least, most)}", raw)
        return default

    def choice(self, name: str, options: Sequence[str]) -> str:
        """Return one of a few words; the first is the default."""
        raw = self._raw(name)
        if not raw or raw in options:
            return raw or options[0]
        self.refuse(name, f"must be one of {', '.join(options)}", raw)
        return options[0]

    def folder(self, name: str, default: str) -> Path:
        """Return a folder that can be written to; it is made where it is missing. Relative to the project's folder."""
        path = self._base / Path(self._raw(name) or default).expanduser()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self.refuse(name, f"must name a folder that can be made ({error.strerror})", str(path))
        else:
            if not os.access(path, os.W_OK | os.X_OK):
                self.refuse(name, "must name a folder that can be written to", str(path))
        return path

    def origins(self, name: str) -> list[str]:
        """Return a comma-separated list of ``scheme://host[:port]``."""
        given = self.words(name)
        bad = next((word for word in given if not _is_origin(word.replace("://*.", "://"))), None)
        if bad is not None:
            self.refuse(name, "must be origins like https://chat.example.org", bad)
            return []
        return given

    def hosts(self, name: str) -> list[str]:
        """Return a comma-separated list of hosts, ``*.`` before one meaning those below it, as they are looked up."""
        found = []
        for word in self.words(name):
            stars, host = ("*.", word[2:]) if word.startswith("*.") else ("", word)
            try:
                host = host.strip("[]")
                parts, host, _ = split_address(f"http://{authority('http', host, 80)}/")
            except BadAddress:
                parts = None
            if parts is None or parts.path != "/" or parts.query or parts.fragment or parts.port:
                self.refuse(name, "must be hosts like example.org or *.example.org", word)
                return []
            found.append(stars + host.lower())
        return found

    def public_url(self, name: str) -> PublicUrl:
        """Return the address people use: a scheme and a host, and a path where the host serves other things too."""
        raw = self._raw(name)
        parsed = _public_url(raw)
        if raw and parsed is None:
            self.refuse(name, "must be an address like https://chat.example.org or https://example.org/chat", raw)
        return parsed or PublicUrl()

    def url(self, name: str, schemes: Sequence[str], *, words: Sequence[str] = ()) -> str:
        """Return the address of a server, or one of a few words that stand for one."""
        raw = self._raw(name)
        parsed = _split(raw)
        if not raw or raw in words or (parsed and parsed.scheme in schemes and parsed.hostname):
            return raw
        starts = " or ".join(f"{scheme}://" for scheme in schemes)
        must = "must " + "".join(f"be {word} or " for word in words) + f"start with {starts} and name a host"
        self.refuse(name, must, _masked(raw))
        return ""

    def database(self, name: str, default: Path) -> dict[str, Any]:
        """Return Django's description of the database that an address names."""
        raw = self._raw(name)
        if not raw:
            return _sqlite(default)
        if raw.startswith(("postgres://", "postgresql://")):
            try:
                return _postgres(raw)
            except AddressRefused as bad:
                self.refuse(name, str(bad), raw)
                return _sqlite(default)
        if raw.startswith("sqlite:///") and raw.removeprefix("sqlite:///").strip("/:") not in {"", "memory"}:
            path = self._base / unquote(raw.removeprefix("sqlite:///"))
            if path.parent.is_dir() and not path.is_dir():
                return _sqlite(path)
            self.refuse(name, "must name a file in a folder that exists", raw)
        else:
            self.refuse(name, "must be sqlite:///FILE or postgres://USER:PASSWORD@HOST:PORT/NAME", _masked(raw))
        return _sqlite(default)

    def redis(self, name: str) -> RedisAddress | None:
        """Return the address of a Redis, or None where none is named."""
        raw = self._raw(name)
        try:
            return parse_redis(raw) if raw else None
        except AddressRefused as bad:
            self.refuse(name, str(bad), raw)
            return None

    def json_object(self, name: str) -> dict[str, Any]:
        """Return a JSON object, given as such or as the path of a file that holds one."""
        raw = self._raw(name)
        if not raw:
            return {}
        try:
            read = json.loads(raw if raw[0] in "{[" else (self._base / Path(raw).expanduser()).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            # Not the value: it may hold keys of servers.
            self.problems.append(f"{name} must be a JSON object or the path of a file that holds one ({error}).")
            return {}
        if not isinstance(read, dict):
            self.problems.append(f"{name} must be a JSON object or the path of a file that holds one.")
            return {}
        return read

    def secret(self, name: str, file: Path) -> str:
        """Return a secret, or the one that is made up once and kept in a file."""
        raw = self._raw(name)
        if raw or self.problems:
            return raw or "unused, because the start is refused"
        try:
            return kept_secret(file)
        except (OSError, ValueError) as error:
            self.problems.append(f"{name} is not set and cannot be kept in {file} ({error}).")
            return "unused, because the start is refused"

    def refuse(self, name: str, must: str, value: str) -> None:
        """Note that a value is wrong. A password inside an address is left out."""
        shown = re.sub(r"(://[^/@]*:)[^/@]*@", r"\1…@", value)
        shown = re.sub(r"(password=)[^&]*", r"\1…", shown)
        shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
        self.problems.append(f"{name} {must}, not '{shown}'.")

    def _raw(self, name: str) -> str:
        self.names.append(name)
        value = self._values.get(name, "").strip()
        if value:
            self.given.add(name)
        return value


def kept_secret(file: Path) -> str:
    """Return the secret that a file keeps, readable by its owner alone; make it up when there is none.

    Two processes that start at once get the same one: the file appears whole, by a link that only one can make.
    """
    if not file.exists():
        draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(secrets.token_urlsafe(64))
                stream.flush()
                os.fsync(descriptor)
            # Where the other process was faster, its secret is the one.
            with contextlib.suppress(FileExistsError):
                os.link(draft, file)
        finally:
            draft.unlink()
    secret = file.read_text("utf-8").strip()
    if not secret:
        raise ValueError("the file is empty; delete it to have a new one made")
    return secret


def _masked(value: str) -> str:
    """A bad address of a server without what may be secret; a file's path is none."""
    if value.startswith("sqlite:"):
        return value
    return mask_text(value) if "://" in value else re.sub(r"^.*@|[?#].*", "…", value)


def _range(least: float, most: float) -> str:
    return f"from {least:g} to {most:g}" if most < MOST else f"of {least:g} or more"


def _split(url: str) -> SplitResult | None:
    """Take an address apart, or return None when it can't be."""
    try:
        parsed = urlsplit(url)
        parsed.port  # noqa: B018 - raises when the port is none
    except ValueError:
        return None
    return parsed


def _is_origin(url: str) -> bool:
    parsed = _public_url(url)
    return parsed is not None and not parsed.path


def _public_url(url: str) -> PublicUrl | None:
    parsed = _split(url)
    if (
        parsed is None
        or parsed.scheme not in {"http", "https"}
        or not parsed.hostname
        or not re.fullmatch(r"[a-z0-9._:-]+", parsed.hostname)
        or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parsed.path)
        or {".", ".."} & set(parsed.path.split("/"))
        or parsed.query
        or parsed.fragment
        or "@" in parsed.netloc
    ):
        return None
    host = f"[{parsed.hostname}]" if ":" in parsed.hostname else parsed.hostname
    # Browsers leave the scheme's own port out of the Origin they send.
    usual = {"http": 80, "https": 443}[parsed.scheme]
    port = "" if parsed.port in {None, usual} else f":{parsed.port}"
    return PublicUrl(f"{parsed.scheme}://{host}{port}", host, parsed.scheme == "https", parsed.path.rstrip("/"))


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        # To open it anew costs more than most of what is asked of it.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # Taking the write lock at the start makes a transaction wait its turn; one that reads first would fail at once.
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
            # FULL: a step that a screen has shown is still there after a power cut.
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;",
        },
    }


def _postgres(raw: str) -> dict[str, Any]:
    # psycopg takes a tenth of a second to import, which those who use SQLite need not wait.
    from config.postgres_address import parse_postgres  # noqa: PLC0415

    found = parse_postgres(raw)
    session = " ".join(f"-c {name}={value}" for name, value in POSTGRES_SESSION.items())
    # A pooler that hands a session on takes no options at its start; `config.prepare` makes them the role's own there.
    own = {} if found["DISABLE_SERVER_SIDE_CURSORS"] else {"options": session}
    options = {**_POSTGRES_PATIENCE, **own, **found["OPTIONS"], "pool": _POSTGRES_POOL}
    return {"ENGINE": "config.postgresql", **found, "OPTIONS": options}
