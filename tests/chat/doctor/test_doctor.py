"""Each part that can be broken is reported with its remedy; what works is reported as working; no check stops another."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder
from django.test import AsyncClient
from django.utils import timezone

from chat.catalog import sealed
from chat.doctor import front, others, servers, storage
from chat.doctor.checks import CHECKS
from chat.doctor.examination import run_checks
from chat.doctor.findings import Check, Finding, Level
from chat.models import ModelServer, Process
from chat.runtime import clock
from chat.security.passes import DOCTOR_HEADER, doctor_pass
from config.env_types import PublicUrl
from tests import programs
from tests.model_server import ModelServer as Model
from tests.services import free_port

pytestmark = pytest.mark.django_db(transaction=True)
#: What a case has started and must end.
listening: list[ThreadingHTTPServer] = []
Break = Callable[[Any, pytest.MonkeyPatch, Path], Any]


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    while listening:
        server = listening.pop()
        server.shutdown()
        server.server_close()


def nothing(*_: Any) -> None:
    """Nothing is broken."""


def unmigrated(*_: Any) -> None:
    _newest_migration().delete()


def _newest_migration() -> Any:
    return MigrationRecorder.Migration.objects.filter(app="chat").order_by("name").last()


def no_room(_: Any, patch: pytest.MonkeyPatch, __: Path) -> None:
    def fail() -> None:
        raise OperationalError("disk I/O error")

    patch.setattr(storage, "connection", SimpleNamespace(vendor="sqlite", ensure_connection=fail))


def clock_off(_: Any, patch: pytest.MonkeyPatch, __: Path) -> None:
    read_database = clock.read_database
    patch.setattr(clock, "read_database", lambda: read_database() - timedelta(seconds=40))


def disk(free: int) -> Break:
    return lambda _, patch, __: patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def open_folder(settings: Any, _: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    settings.DATA_DIR.chmod(0o755)


def open_env_file(settings: Any, _: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    tmp_path.chmod(0o755)
    (tmp_path / ".env").write_text("SECRET_KEY=x")
    (tmp_path / ".env").chmod(0o644)


def redis_away(settings: Any, *_: Any) -> None:
    address = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    settings.REDIS_URL = address
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "", "CONFIG": {"hosts": [address]}}}


def process_noticed(*_: Any) -> None:
    Process.objects.create(name="web-1", seen_at=timezone.now(), noticed="The proxy loses the host.")


def process_lives(*_: Any) -> None:
    Process.objects.create(name="web-1", seen_at=timezone.now())


def model(settings: Any, address: str, name: str = "stub", key: str = "key") -> None:
    was = settings.AGENT_MODEL
    settings.AGENT_MODEL = type(was)(address, name, key, 5)


def model_away(settings: Any, *_: Any) -> None:
    model(settings, f"http://127.0.0.1:{free_port()}/v1")


def key_lost(settings: Any, *_: Any) -> None:
    settings.FIELD_KEY = "a key of the fields, long enough."
    ModelServer.objects.create(name="lab", address="http://127.0.0.1:1/v1", key=sealed.seal_secret("sk-hunter2"))
    settings.FIELD_KEY = "another key of fields, long enough."


def key_unset(settings: Any, *_: Any) -> None:
    key_lost(settings)
    settings.FIELD_KEY = ""


def server_forbidden(settings: Any, *_: Any) -> None:
    ModelServer.objects.create(name="lab", address="http://127.0.0.1:1/v1")


def tools_missing(settings: Any, *_: Any) -> None:
    settings.MCP_SERVERS = {"gone": {"command": "/nonexistent/program"}}


def provider(added: str | None) -> Break:
    """A provider with this address and issuer; None: there is none."""

    def start(settings: Any, *_: Any) -> None:
        settings.OIDC_ISSUER = f"http://127.0.0.1:{free_port()}"
        if added is None:
            return

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({"issuer": f"http://{self.headers['Host']}{added}"}).encode()
                self.send_response(200 if self.path == "/.well-known/openid-configuration" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        listening.append(server)
        settings.OIDC_ISSUER = f"http://127.0.0.1:{server.server_port}"

    return start


def mail_away(settings: Any, *_: Any) -> None:
    settings.EMAIL_URL, settings.EMAIL_HOST, settings.EMAIL_PORT = "smtp://ada:hunter2@x", "127.0.0.1", free_port()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"


def nobody_serves(settings: Any, *_: Any) -> None:
    port = free_port()
    settings.PUBLIC_URL = PublicUrl(f"http://127.0.0.1:{port}", "127.0.0.1", secure=False)


#: The check, what is broken, the expected state, its text, and the remedy.
CASES: list[tuple[Check, Break, Level, str, str]] = [
    (storage.check_database, nothing, Level.OK, "answers in", ""),
    (storage.check_database, no_room, Level.FAIL, "does not answer: disk I/O error", "its disk is not full"),
    (storage.check_migrations, nothing, Level.OK, "all are applied", ""),
    (storage.check_migrations, unmigrated, Level.FAIL, "are not applied (chat.", "manage.py migrate"),
    (storage.check_clock, nothing, Level.OK, "agrees with the database's", ""),
    (storage.check_clock, clock_off, Level.WARN, "+40 s off", "NTP"),
    (storage.check_disk, disk(10 << 30), Level.OK, "10.0 GiB are free", ""),
    (storage.check_disk, disk(1 << 30), Level.WARN, "1.0 GiB are free", "Free some space"),
    (storage.check_disk, disk(10 << 20), Level.FAIL, "0.0 GiB are free", "Free some space"),
    (storage.check_permissions, nothing, Level.OK, "this account only", ""),
    (storage.check_permissions, open_folder, Level.WARN, "(mode 755)", "chmod -R go= "),
    (storage.check_permissions, open_env_file, Level.WARN, ".env (mode 644)", "chmod -R go= "),
    (storage.check_static_files, nothing, Level.FAIL, "are not collected", "collectstatic"),
    (servers.check_channel_layer, nothing, Level.OK, "memory", ""),
    (servers.check_channel_layer, redis_away, Level.FAIL, "cannot be used", "Check that the Redis of REDIS_URL runs."),
    (servers.check_broker, nothing, Level.OK, "none is configured", ""),
    (servers.check_processes, nothing, Level.WARN, "none is running", "make run"),
    (servers.check_processes, process_lives, Level.OK, "1 running", ""),
    (servers.check_processes, process_noticed, Level.WARN, "web-1 reports: The proxy loses the host.", "restart"),
    (servers.check_secrets, nothing, Level.OK, "none is in the database", ""),
    (servers.check_secrets, key_lost, Level.FAIL, "the key of lab was encrypted with another", "enter the key again"),
    (servers.check_secrets, key_unset, Level.FAIL, "FIELD_KEY is not set, and keys", "Set the FIELD_KEY"),
    (servers.check_model_servers, nothing, Level.WARN, "demo model", "check_llm"),
    (servers.check_model_servers, model_away, Level.FAIL, "LLM_MODEL_SERVER (http://127.0.0.1", "Check that it runs"),
    (servers.check_model_servers, server_forbidden, Level.FAIL, "not allowed any more", "in the admin"),
    (servers.check_tool_servers, nothing, Level.OK, "none is configured", ""),
    (servers.check_tool_servers, tools_missing, Level.FAIL, "gone (", "MCP_SERVERS"),
    (others.check_login_provider, nothing, Level.OK, "none is configured", ""),
    (others.check_login_provider, provider(None), Level.FAIL, "cannot be read", "OIDC_ISSUER"),
    (others.check_login_provider, provider("/"), Level.FAIL, "the provider's issuer is", "to exactly that"),
    (others.check_login_provider, provider(""), Level.OK, "answers with its configuration", ""),
    (others.check_mail, nothing, Level.OK, "no mail is sent", ""),
    (others.check_mail, mail_away, Level.FAIL, "cannot be used", "EMAIL_URL"),
    (front.check_front, nothing, Level.OK, "PUBLIC_URL is not set", ""),
    (front.check_front, nobody_serves, Level.FAIL, "cannot be reached from here", "a process serves"),
]


@pytest.mark.parametrize(("check", "breaks", "level", "words", "action"), CASES)
def test_a_broken_part_is_reported_with_its_remedy(
    check: Check,
    breaks: Break,
    level: Level,
    words: str,
    action: str,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    newest = _newest_migration()
    try:
        breaks(settings, monkeypatch, tmp_path)
        found = list(run_checks({"it": check}))
    finally:
        MigrationRecorder.Migration.objects.get_or_create(app=newest.app, name=newest.name)
    worst = max(found, key=lambda each: list(Level).index(each.level))
    assert worst.level is level, found
    assert words in worst.finding.text
    assert action in worst.finding.action
    assert "hunter2" not in str(found)


def test_static_files_that_are_collected_are_well(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path / "static"
    call_command("collectstatic", interactive=False, verbosity=0)
    assert [each.level for each in storage.check_static_files()] == [Level.OK]
    shutil.rmtree(settings.STATIC_ROOT / "vendor")
    assert [each.level for each in storage.check_static_files()] == [Level.FAIL]


#: What a model server answers, by the model that it is asked for.
MODELS = [("scripted", Level.OK, "has scripted"), ("other", Level.WARN, "does not list other")]


@pytest.mark.parametrize(("name", "level", "words"), MODELS)
def test_a_model_server_is_asked_which_models_it_has(settings: Any, name: str, level: Level, words: str) -> None:
    with Model() as server:
        model(settings, server.url, name)
        (finding,) = servers.check_model_servers()
        assert server.requests == [], "nothing is generated"
    assert (finding.level, words in finding.text) == (level, True), finding


def failing() -> Iterable[Finding]:
    yield Finding.ok("so far")
    raise ConnectionError("https://ada:hunter2@db.example.org/x went away")


def test_a_check_that_fails_or_hangs_stops_no_other() -> None:
    released = threading.Event()

    def hanging() -> Iterable[Finding]:
        yield Finding.ok("begun")
        released.wait(60)
        yield Finding.ok("too late")

    checks = {"one": failing, "two": hanging, "three": lambda: [Finding.fail("no", "Do it.")]}
    found = [(each.check, each.level, each.finding.text) for each in run_checks(checks, 0.3)]
    released.set()
    assert [(check, level) for check, level, _ in found] == [
        ("one", Level.OK),
        ("one", Level.FAIL),
        ("two", Level.OK),
        ("two", Level.FAIL),
        ("three", Level.FAIL),
    ]
    assert "hunter2" not in str(found)
    assert "has not answered within 0.3 s" in found[3][2]


#: A request as it arrived: what differs from a proper one, the expected state, and its text.
SEEN: list[tuple[dict[str, Any], Level, str]] = [
    ({}, Level.OK, "requests use https"),
    ({"scheme": "http", "forwarded_proto": ""}, Level.FAIL, "the proxy sends no X-Forwarded-Proto"),
    ({"scheme": "http", "forwarded_proto": "http"}, Level.FAIL, "the proxy sends X-Forwarded-Proto: http"),
    ({"ignored_peer": "10.0.0.9"}, Level.FAIL, "comes from 10.0.0.9, which is not one of TRUSTED_PROXIES"),
    ({"host": "127.0.0.1:8000"}, Level.FAIL, "chat.example.org arrives as 127.0.0.1:8000"),
    ({"host_is_known": False}, Level.FAIL, "not one of ALLOWED_HOSTS"),
    ({"forwarded_for": ""}, Level.WARN, "all clients are seen as 203.0.113.9"),
]


@pytest.mark.parametrize(("differs", "level", "words"), SEEN)
def test_changes_of_a_request_by_a_proxy_are_reported(
    settings: Any, differs: dict[str, Any], level: Level, words: str
) -> None:
    settings.PUBLIC_URL = PublicUrl("https://chat.example.org", "chat.example.org", secure=True)
    right = {
        "scheme": "https",
        "host": "chat.example.org",
        "host_is_known": True,
        "client": "203.0.113.9",
        "forwarded_for": "203.0.113.9",
        "forwarded_proto": "https",
        "ignored_peer": "",
    }
    found = list(front._check_headers({**right, **differs}))
    assert any(each.level is level and words in each.text for each in found), found
    assert max((list(Level).index(each.level) for each in found), default=0) == list(Level).index(level)


async def test_the_echo_answers_the_doctor_alone() -> None:
    for shown in ("", "echo", f"{doctor_pass()}x"):
        assert (await AsyncClient().get("/healthz/echo", headers={DOCTOR_HEADER: shown})).status_code == 404
    answer = await AsyncClient().get("/healthz/echo", headers={DOCTOR_HEADER: doctor_pass()})
    assert (answer.status_code, answer.json()["scheme"]) == (200, "http")


@pytest.mark.long
def test_the_command_tells_all_of_an_installation_where_everything_is_broken(tmp_path: Path) -> None:
    gone = f"127.0.0.1:{free_port()}"
    environment = {
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"postgres://ada:hunter2@{gone}/thinkaloud",
        "REDIS_URL": f"redis://:hunter2@{gone}/0",
        "BROKER_URL": f"redis://:hunter2@{gone}/1",
        "SECRET_KEY": django_settings.SECRET_KEY,
        "LLM_MODEL_SERVER": f"http://{gone}/v1",
        "LLM_API_KEY": "sk-hunter2",
        "MCP_SERVERS": '{"gone": {"command": "/nonexistent/program", "env": {"KEY": "hunter2"}}}',
        "PUBLIC_URL": f"https://{gone}",
    }
    done = programs.run_program(["manage.py", "doctor", "--json", "--timeout", "15"], {**os.environ, **environment})
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["findings"]
    assert {each["check"] for each in found} == set(CHECKS)
    failed = {each["check"] for each in found if each["level"] == "fail"}
    assert failed >= {"database", "channel layer", "broker", "model servers", "tool servers", "public address"}
    assert all(each["action"] for each in found if each["level"] != "ok")
    assert "hunter2" not in done.stdout + done.stderr


def test_the_command_says_in_lines_what_is_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.management.commands.doctor.CHECKS", {"disk": lambda: [Finding.ok("there is room")]})
    call_command("doctor")
    assert capsys.readouterr().out == "ok    disk: there is room\n"
