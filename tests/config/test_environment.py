"""Every variable is read with its type and range; a wrong value is one line that names it."""

import os
import re
import runpy
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.env_types import PublicUrl
from config.environment import Environment, EnvironmentRefused, check_time_zones, read_environment
from config.kept_secret import kept_secret

PROJECT = Path(__file__).resolve().parents[2]


def start(**environ: str) -> str:
    """Read the settings again with some variables set; returns the error of a refused start."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        try:
            runpy.run_path(str(PROJECT / "config" / "settings.py"))
        except SystemExit as refused:
            return str(refused.code)
    return ""


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("PORT", "abc", "PORT must be a whole number from 1 to 65535, not 'abc'."),
        ("PORT", "0", "PORT must be a whole number from 1 to 65535, not '0'."),
        (
            "HOST",
            "127.0.0.1:8000",
            "HOST must be an address or a name of this machine, without scheme and port, such as",
        ),
        (
            "HOST",
            "http://0.0.0.0",
            "HOST must be an address or a name of this machine, without scheme and port, such as",
        ),
        ("HOST", "*", "HOST must be an address or a name of this machine, without scheme and port, such as"),
        ("HOST", "[::1", "HOST must be an address or a name of this machine, without scheme and port, such as"),
        ("HOST", "[127.0.0.1]", "HOST must be an address or a name of this machine, without scheme and port, such as"),
        ("HOST", "a" * 64, "HOST must be an address or a name of this machine, without scheme and port, such as"),
        ("HOST", "a b", "HOST must be an address or a name of this machine, without scheme and port, such as"),
        ("HOST", "1::2::3", "HOST must be an address or a name of this machine, without scheme and port, such as"),
        ("PUBLIC_URL", "http://::1:8000", "PUBLIC_URL must be an address like https://chat.example.org or"),
        ("PUBLIC_URL", "http://[v1.a]/", "PUBLIC_URL must be an address like https://chat.example.org or"),
        ("PUBLIC_URL", "http://[fe80::1%25eth0]/", "PUBLIC_URL must be an address like https://chat.example.org or"),
        ("ALLOWED_HOSTS", "[::1]:8000", "ALLOWED_HOSTS must be names of hosts like"),
        ("ALLOWED_HOSTS", "[12]", "ALLOWED_HOSTS must be names of hosts like"),
        ("DEBUG", "maybe", "DEBUG must be true or false, not 'maybe'."),
        ("ALLOW_SIGNUP", "2", "ALLOW_SIGNUP must be true or false, not '2'."),
        (
            "PUBLIC_URL",
            "chat.example.org",
            "PUBLIC_URL must be an address like https://chat.example.org or https://example.org/chat, not",
        ),
        ("ALLOWED_HOSTS", "localhost, https://chat.example.org", "ALLOWED_HOSTS must be names of hosts like"),
        ("ALLOWED_HOSTS", "localhost:8000", "ALLOWED_HOSTS must be names of hosts like"),
        ("ALLOWED_HOSTS", "a b", "ALLOWED_HOSTS must be names of hosts like"),
        ("ALLOWED_HOSTS", "*.a.example", "ALLOWED_HOSTS must be names of hosts like"),
        ("ALLOWED_HOSTS", '"a.example,b.example"', "ALLOWED_HOSTS must be names of hosts like"),
        ("LLM_API_KEY", '"sk-SECRET"', "LLM_API_KEY stands in quotes, which are no part of it. Write it without."),
        ("SECRET_KEY", "'SECRET'", "SECRET_KEY stands in quotes, which are no part of it. Write it without."),
        ("LLM_MODEL", '"qwen3"', "LLM_MODEL stands in quotes"),
        ("CSRF_TRUSTED_ORIGINS", "chat.example.org", "CSRF_TRUSTED_ORIGINS must be origins like"),
        (
            "DATABASE_URL",
            "mysql://db/x",
            "DATABASE_URL must be sqlite:///FILE or postgres://USER:PASSWORD@HOST:PORT/NAME, not",
        ),
        (
            "REDIS_URL",
            "localhost:6379",
            "REDIS_URL must start with redis://, rediss://, unix:// or sentinel:// and name a host, not 'localhost:6379'.",
        ),
        (
            "DATA_DIR",
            "/dev/null/x",
            "DATA_DIR must name a folder that can be made (Not a directory), not '/dev/null/x'.",
        ),
        (
            "LLM_MODEL_SERVER",
            "localhost:11434",
            "LLM_MODEL_SERVER must be dashscope or start with http:// or https:// and",
        ),
        ("LLM_MODEL_SERVER", "dashscope", "LLM_API_KEY must be set where LLM_MODEL_SERVER is dashscope."),
        (
            "LLM_API_KEY",
            "Bearer sk-1",
            "LLM_API_KEY must be the key alone: the word Bearer is sent before it as it is.",
        ),
        (
            "LLM_API_KEY",
            "bearer  sk-1",
            "LLM_API_KEY must be the key alone: the word Bearer is sent before it as it is.",
        ),
        ("LLM_TIMEOUT_S", "soon", "LLM_TIMEOUT_S must be a number from 0.1 to 86400, not 'soon'."),
        (
            "LLM_TOOL_FORMAT",
            "xml",
            "LLM_TOOL_FORMAT must be one of auto, native, template, template:qwen3-coder, template:glm, template:llama, not 'xml'.",
        ),
        ("LLM_MAX_INPUT_TOKENS", "10", "LLM_MAX_INPUT_TOKENS must be a whole number of 1000 or more, not '10'."),
        (
            "MCP_SERVERS",
            "no-such-file.json",
            "MCP_SERVERS must be a JSON object or the path of a file that holds one (",
        ),
        (
            "FETCH_DENIED_HOSTS",
            "example.org, a/b",
            "FETCH_DENIED_HOSTS must be hosts like example.org or *.example.org, not 'a/b'.",
        ),
        ("MFA_REQUIRED", "some", "MFA_REQUIRED must be one of none, staff, all, not 'some'."),
        ("OIDC_ISSUER", "http://id.example.org", "OIDC_ISSUER must be the provider's address, https://…"),
        ("OIDC_ISSUER", "id.example.org", "OIDC_ISSUER must be the provider's address, https://…"),
        ("OIDC_ISSUER", "https://id.example.org", "OIDC_CLIENT_ID and OIDC_CLIENT_SECRET must be set"),
        ("OIDC_SCOPES", "profile", "OIDC_SCOPES must contain openid."),
        ("OIDC_GROUPS", '{"a": ["b"]}', "OIDC_GROUPS must give each value of the claim the name of one group"),
        ("OIDC_RECHECK_S", "-1", "OIDC_RECHECK_S must be a number from 0 to 86400, not '-1'."),
        (
            "EMAIL_URL",
            "imap://u:SECRET@h.test",
            "EMAIL_URL must be an address like smtps://user:password@mail.example.org",
        ),
        (
            "EMAIL_URL",
            "smtp://u:SECRET@h.test",
            "EMAIL_URL must be an address like smtps://user:password@mail.example.org",
        ),
        ("EMAIL_URL", "smtp://h.test/?from=a@b.example&tls=no", "EMAIL_URL must not have tls in it."),
        ("FIELD_KEY", "too short", "FIELD_KEY must have at least 32 characters."),
        (
            "MODEL_SERVER_ADDRESSES",
            "https://*",
            "MODEL_SERVER_ADDRESSES must be addresses like https://api.example.org/v1",
        ),
        ("FETCH_ALLOWED_HOSTS", "https://a.test", "FETCH_ALLOWED_HOSTS must be hosts like"),
        (
            "LLM_MODEL_SERVER",
            "ftp://u:SECRET@h.test/SECRET?k=SECRET",
            "LLM_MODEL_SERVER must be dashscope or start with http:// or https:// and name a host, not 'ftp://h.test'.",
        ),
        (
            "LLM_MODEL_SERVER",
            "u:SECRET@h.test/v1?k=SECRET",
            "LLM_MODEL_SERVER must be dashscope or start with http:// or https:// and name a host, not '…h.test/v1…'.",
        ),
        ("MAX_ITERATIONS", "-1", "MAX_ITERATIONS must be a whole number of 0 or more, not '-1'."),
        ("MAX_MESSAGE_CHARS", "1e3", "MAX_MESSAGE_CHARS must be a whole number of 0 or more, not '1e3'."),
        ("RUN_LEASE_S", "0", "RUN_LEASE_S must be a number from 1 to 86400, not '0'."),
        (
            "APPROVAL_POLICY",
            "[{",
            "APPROVAL_POLICY must be a JSON list of rules (Expecting property name enclosed in double quotes), not '[{'.",
        ),
        ("APPROVAL_POLICY", "{}", "APPROVAL_POLICY must be a JSON list of rules: A policy is a list of rules."),
        (
            "APPROVAL_POLICY",
            '[{"tool": "python", "decision": "perhaps"}]',
            "APPROVAL_POLICY must be a JSON list of rules: Rule 1 needs a “decision”: allow, ask or deny.",
        ),
        ("APPROVAL_UNANSWERED", "wait", "APPROVAL_UNANSWERED must be one of deny, stop, not 'wait'."),
        ("AUTO_CONTINUE", "sure", "AUTO_CONTINUE must be true or false, not 'sure'."),
        ("BROKER_URL", "amqp://localhost", "BROKER_URL must start with redis://, rediss://"),
        ("PORT", "80\n81", "PORT must be a whole number from 1 to 65535, not '80\\n81'."),
        ("DEBUG", "\x1b[31mno\r", "DEBUG must be true or false, not '\\x1b[31mno'."),
        ("SECRET_KEY", "caf\udce9", "SECRET_KEY must be UTF-8 text."),
        ("LLM_API_KEY", "sk-1\nsk-2", "LLM_API_KEY must be one line: a line break, or what nobody sees, stands in it."),
        ("LLM_API_KEY", "\udcff", "LLM_API_KEY must be UTF-8 text."),
        ("DATA_DIR", "~nobody-of-this-name/x", "DATA_DIR must name a folder that can be made (no such user), not"),
        (
            "MCP_SERVERS",
            "~nobody-of-this-name/x",
            "MCP_SERVERS must be a JSON object or the path of a file that holds one (",
        ),
        (
            "MCP_SERVERS",
            "x" * 5_000,
            "MCP_SERVERS must be a JSON object or the path of a file that holds one (File name too long",
        ),
        ("MCP_SERVERS", '"t": {"env": {"KEY": "SECRET"}}', "MCP_SERVERS must be a JSON object or the path of a file"),
        (
            "DATABASE_URL",
            "sqlite:///x.db?timeout=20",
            "DATABASE_URL must name a file alone, without parameters, not 'sqlite:///x.db?timeout=20'.",
        ),
        (
            "LLM_MODEL_SERVER",
            "http://a b/v1",
            "LLM_MODEL_SERVER must be dashscope or start with http:// or https:// and name",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://a\tb/",
            "OTEL_EXPORTER_OTLP_ENDPOINT must start with http:// or https:// and",
        ),
        ("STATIC_ROOT", str(PROJECT), "STATIC_ROOT must be a folder of its own: what is in it is served to everybody"),
        ("STATIC_ROOT", "/", "STATIC_ROOT must be a folder of its own: what is in it is served to everybody"),
        ("STATIC_ROOT", "~nobody-of-this-name/x", "STATIC_ROOT must name a folder (no such user), not"),
        ("STATIC_ROOT", "static", "STATIC_ROOT must be a folder of its own: what is in it is served to everybody"),
        ("BROKER_URL", "redis://localhost", "BROKER_URL needs REDIS_URL and a postgres:// DATABASE_URL"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(name: str, value: str, complaint: str) -> None:
    output = start(**{name: value})
    assert output.startswith(f"Thinkaloud cannot start: {complaint}")
    assert output.isprintable()
    assert not re.search(r"\bSECRET\b", output)


def test_a_refused_start_prints_that_line_only() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT,
        env={**os.environ, "PORT": "abc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Thinkaloud cannot start: PORT must be a whole number from 1 to 65535, not 'abc'.\n"


def test_a_folder_without_time_zones_is_told_and_none_is_needed(tmp_path: Path) -> None:
    check_time_zones(tmp_path / "none")
    with pytest.raises(EnvironmentRefused, match="has no time zones"):
        check_time_zones(tmp_path)
    (tmp_path / "UTC").touch()
    check_time_zones(tmp_path)


def test_every_bad_value_is_told_at_once() -> None:
    assert [line.split()[3] for line in start(PORT="abc", DEBUG="maybe").splitlines()] == ["PORT", "DEBUG"]


def test_processes_that_share_redis_must_share_the_secret() -> None:
    assert start(REDIS_URL="redis://localhost", SECRET_KEY="").startswith(
        "Thinkaloud cannot start: SECRET_KEY must be set where REDIS_URL is"
    )
    assert start(REDIS_URL="redis://localhost", SECRET_KEY="given") == ""


def test_a_password_is_never_repeated() -> None:
    output = start(DATABASE_URL="postgres://me:hunter2@db:99999/x")
    assert "DATABASE_URL" in output
    assert "hunter2" not in output


def read(**values: str) -> Environment:
    """The settings with these variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        return read_environment(PROJECT / "tests")


def refused(**values: str) -> list[str]:
    """The error about these variables."""
    with pytest.raises(EnvironmentRefused) as problems:
        read(**values)
    return problems.value.problems


def test_empty_and_blank_count_as_unset() -> None:
    env = read(PORT="", HOST="  ", LLM_MODEL=" qwen3 ")
    assert (env.PORT, env.HOST, env.LLM_MODEL) == (8000, "127.0.0.1", "qwen3")


@pytest.mark.parametrize(("raw", "value"), [("true", True), ("1", True), ("ON", True), ("no", False), ("0", False)])
def test_flags(raw: str, value: bool) -> None:
    assert read(DEBUG=raw).DEBUG is value


def test_only_proxies_on_the_machine_itself_are_trusted_by_default() -> None:
    assert read().TRUSTED_PROXIES == ["127.0.0.0/8", "::1/128"]


def test_words_are_separated_by_commas() -> None:
    assert read(ALLOWED_HOSTS="a.example.org, b.example.org,").ALLOWED_HOSTS == ["a.example.org", "b.example.org"]
    assert read(ALLOWED_HOSTS="*,.a.example,[::1],10.0.0.5").ALLOWED_HOSTS == ["*", ".a.example", "[::1]", "10.0.0.5"]
    assert read(CSRF_TRUSTED_ORIGINS="https://a.example/").CSRF_TRUSTED_ORIGINS == ["https://a.example"]


#: What an operator enters, and what browsers and sockets are compared with. A further spelling is one line.
@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("HOST", "[::1]", "::1"),
        ("HOST", "0:0:0:0:0:0:0:1", "::1"),
        ("HOST", "[::]", "::"),
        ("HOST", "::0", "::"),
        ("HOST", "0", "0.0.0.0"),
        ("HOST", "127.1", "127.0.0.1"),
        ("HOST", "LocalHost", "localhost"),
        ("HOST", "fe80::1%eth0", "fe80::1%eth0"),
        ("HOST", "[FE80::1%25eth0]", "fe80::1%eth0"),
        ("HOST", "chat.lan.", "chat.lan."),
        ("ALLOWED_HOSTS", "::1,[2001:DB8:0::5], 0:0::9", ["[::1]", "[2001:db8::5]", "[::9]"]),
        ("CSRF_TRUSTED_ORIGINS", "https://A.example:443,http://[0::1]:80/", ["https://a.example", "http://[::1]"]),
        ("CSRF_TRUSTED_ORIGINS", "https://*.A.example:8443", ["https://*.a.example:8443"]),
        ("PUBLIC_URL", "http://[2001:DB8:0:0::1]:80/", PublicUrl("http://[2001:db8::1]", "[2001:db8::1]")),
        ("PUBLIC_URL", "http://[::ffff:127.0.0.1]:8000", PublicUrl("http://[::ffff:7f00:1]:8000", "[::ffff:7f00:1]")),
    ],
)
def test_hosts_have_the_spelling_that_browsers_send(name: str, raw: str, value: object) -> None:
    assert getattr(read(**{name: raw}), name) == value


@pytest.mark.parametrize(
    ("host", "added"),
    [
        ("::1", []),
        ("[::]", []),
        ("0", []),
        ("localhost", []),
        ("[fd00::5]", ["[fd00::5]"]),
        ("fe80::1%eth0", ["[fe80::1]"]),
        ("chat.lan", ["chat.lan"]),
    ],
)
def test_the_host_that_is_listened_on_is_answered_to(host: str, added: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST", host)
        names = runpy.run_path(str(PROJECT / "config" / "settings.py"))["ALLOWED_HOSTS"]
    assert names == ["localhost", "127.0.0.1", "[::1]", *added]


#: Numbers at the ends of their ranges, and beyond. A further one is one line.
@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("PORT", "1", 1),
        ("PORT", "65535", 65535),
        ("PORT", "65536", None),
        ("PORT", "80.5", None),
        ("MAX_ITERATIONS", "0", 0),
        ("SHUTDOWN_S", "0.5", 0.5),
        ("SHUTDOWN_S", "nan", None),
        ("SHUTDOWN_S", "inf", None),
        ("SHUTDOWN_S", "-0.1", None),
    ],
)
def test_numbers_keep_within_their_ranges(name: str, raw: str, value: float | None) -> None:
    if value is None:
        assert len(refused(**{name: raw})) == 1
    else:
        assert getattr(read(**{name: raw}), name) == value


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        ("https://chat.example.org", PublicUrl("https://chat.example.org", "chat.example.org", secure=True)),
        ("https://chat.example.org:443/", PublicUrl("https://chat.example.org", "chat.example.org", secure=True)),
        ("https://Chat.Example.org:8443", PublicUrl("https://chat.example.org:8443", "chat.example.org", secure=True)),
        ("http://[::1]:8000", PublicUrl("http://[::1]:8000", "[::1]", secure=False)),
        ("https://example.org/chat/", PublicUrl("https://example.org", "example.org", secure=True, path="/chat")),
        ("", PublicUrl()),
    ],
)
def test_a_public_url_gives_the_origin_that_browsers_send(raw: str, url: PublicUrl) -> None:
    assert url == read(PUBLIC_URL=raw).PUBLIC_URL


@pytest.mark.parametrize(
    "raw",
    [
        "https://",
        "https://x/a b",
        "https://x/../y",
        "https://me@x",
        "https://x:abc",
        "https://x?y",
        "https://a b",
        "ftp://x",
    ],
)
def test_an_invalid_public_url_is_refused(raw: str) -> None:
    assert len(refused(PUBLIC_URL=raw)) == 1


def test_sqlite_is_kept_safe_and_waits_its_turn(tmp_path: Path) -> None:
    found = read(DATABASE_URL=f"sqlite:///{tmp_path}/a%20b.db").DATABASE_URL
    assert found is not None
    assert found["NAME"] == tmp_path / "a b.db"
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in found["OPTIONS"]["init_command"]
    assert "synchronous=FULL" in found["OPTIONS"]["init_command"]


def test_a_relative_database_is_in_the_projects_folder() -> None:
    found = read(DATABASE_URL="sqlite:///x.db").DATABASE_URL
    assert found is not None
    assert found["NAME"] == PROJECT / "x.db"


@pytest.mark.parametrize(
    "raw", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:////no/such/folder/x.db", "x.db", "postgres://db"]
)
def test_an_invalid_database_address_is_refused(raw: str) -> None:
    assert len(refused(DATABASE_URL=raw)) == 1


def test_postgres_is_taken_apart_and_pooled() -> None:
    found = read(DATABASE_URL="postgres://me:a%40b@db.example.org:5433/chat?sslmode=require").DATABASE_URL
    assert found is not None
    assert [found[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")] == [
        "chat",
        "me",
        "a@b",
        "db.example.org",
        "5433",
    ]
    assert found["OPTIONS"]["sslmode"] == "require"
    assert found["OPTIONS"]["pool"]["max_size"] == 16
    # Otherwise a pool that could not connect for a while would not notice that the database is back.
    assert found["OPTIONS"]["pool"]["reconnect_timeout"] <= found["OPTIONS"]["pool"]["timeout"]


def test_json_is_given_as_such_or_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text('{"time": {"command": "time-server"}}')
    assert read(MCP_SERVERS=str(file)).MCP_SERVERS == {"time": {"command": "time-server"}}
    assert read(MCP_SERVERS='{"a": {}}').MCP_SERVERS == {"a": {}}
    assert refused(MCP_SERVERS="[1]") == ["MCP_SERVERS must be a JSON object or the path of a file that holds one."]


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=from-file\nLLM_API_KEY=from-file\n")
    monkeypatch.setenv("LLM_MODEL", "from-environment")
    monkeypatch.delenv("LLM_API_KEY")
    env = read_environment(tmp_path)
    assert [env.LLM_MODEL, env.LLM_API_KEY] == ["from-environment", "from-file"]


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    env = read(DATA_DIR=str(tmp_path), SECRET_KEY="")
    secret = env.secret_key()
    assert len(secret) >= 50
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert env.secret_key() == secret
    assert read(DATA_DIR=str(tmp_path), SECRET_KEY="given").secret_key() == "given"
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_processes_that_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(kept_secret, [tmp_path / "secret_key"] * 64))
    assert len(secrets) == 1


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    with pytest.raises(EnvironmentRefused) as problems:
        read(DATA_DIR=str(tmp_path), SECRET_KEY="").secret_key()
    assert problems.value.problems == [
        f"SECRET_KEY is not set and cannot be kept in {tmp_path}/secret_key (the file is empty; delete it to have a new one made)."
    ]


def test_hosts_are_kept_as_they_are_looked_up() -> None:
    given = "Example.org, *.Bücher.test, 192.0.2.1, [2606:4700::1111]"
    assert read(FETCH_ALLOWED_HOSTS=given).FETCH_ALLOWED_HOSTS == [
        "example.org",
        "*.xn--bcher-kva.test",
        "192.0.2.1",
        "2606:4700::1111",
    ]
