"""What a public https address changes, seen from outside, in a process that was started with it."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import prepared

PROJECT = Path(__file__).resolve().parents[2]
HTTPS = {"PUBLIC_URL": "https://chat.example.org"}

ASK = """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from django.conf import settings
from django.test import Client
answers = {}
for name, path, headers in json.loads(sys.argv[1]):
    answer = Client(SERVER_NAME="chat.example.org", headers=headers).get(path)
    answers[name] = {
        "status": answer.status_code,
        "headers": dict(answer.items()),
        "cookies": {key: bool(cookie["secure"]) for key, cookie in answer.cookies.items()},
    }
answers["origins"] = settings.CSRF_TRUSTED_ORIGINS
answers["hosts"] = settings.ALLOWED_HOSTS
print(json.dumps(answers))
"""


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def ask(data: Path, **environ: str) -> dict[str, Any]:
    """The answers of an installation at https://chat.example.org."""
    asked = [
        ("plain", "/accounts/login/", {}),
        ("secure", "/accounts/login/", {"X-Forwarded-Proto": "https"}),
        ("health", "/healthz", {}),
        ("ready", "/readyz", {}),
    ]
    prepared.copy_tables(data)
    done = run("-c", ASK, json.dumps(asked), **HTTPS, DATA_DIR=str(data), **environ)
    assert done.returncode == 0, done.stderr
    answered: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answered


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Its answers with no other settings."""
    return ask(tmp_path_factory.mktemp("data"))


def test_plain_http_is_redirected(answers: dict[str, Any]) -> None:
    assert answers["plain"]["status"] == 301
    assert answers["plain"]["headers"]["Location"] == "https://chat.example.org/accounts/login/"


def test_probes_are_not_redirected(answers: dict[str, Any]) -> None:
    assert answers["health"]["status"] != 301
    assert answers["ready"]["status"] != 301


def test_headers_of_the_proxy_are_trusted(answers: dict[str, Any]) -> None:
    assert answers["secure"]["status"] == 200
    assert answers["secure"]["headers"]["Strict-Transport-Security"] == "max-age=3600"
    assert answers["secure"]["cookies"] == {"csrftoken": True}


def test_how_long_browsers_use_https_alone_is_for_the_operator_to_say(tmp_path: Path) -> None:
    whole = ask(tmp_path, HSTS_SECONDS="31536000", HSTS_INCLUDE_SUBDOMAINS="true", HSTS_PRELOAD="true")
    wanted = "max-age=31536000; includeSubDomains; preload"
    assert whole["secure"]["headers"]["Strict-Transport-Security"] == wanted


def test_host_and_origin_follow(answers: dict[str, Any]) -> None:
    assert answers["origins"] == ["https://chat.example.org"]
    assert "chat.example.org" in answers["hosts"]


def test_the_deployment_check_is_clean() -> None:
    done = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **HTTPS)
    assert done.stdout == "System check identified no issues (3 silenced).\n", done.stderr


def test_without_a_public_address_loopback_speaks_plain_http(settings: Any) -> None:
    assert settings.SECURE_SSL_REDIRECT is False
    assert settings.SESSION_COOKIE_SECURE is False
    assert settings.SECURE_PROXY_SSL_HEADER is None
    assert settings.CSRF_TRUSTED_ORIGINS == []
    assert {"localhost", "127.0.0.1", "[::1]"} <= set(settings.ALLOWED_HOSTS)


def test_redis_takes_over_the_channel_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend() -> str:
        layers = runpy.run_path(str(PROJECT / "config" / "settings.py"))["CHANNEL_LAYERS"]
        return str(layers["default"]["BACKEND"])

    assert backend() == "chat.runtime.layers.ProcessChannelLayer"
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    assert backend() == "chat.runtime.redis_layer.SharedChannelLayer"


# The template database of the other tests on PostgreSQL is made in the same way.
@pytest.mark.long
def test_the_product_migrates_and_serves_on_postgres(postgres_url: str) -> None:
    show = "from chat.models import Session; print(Session.objects.count())"
    assert run("manage.py", "migrate", "-v0", DATABASE_URL=postgres_url).returncode == 0
    assert run("manage.py", "shell", "-v0", "-c", show, DATABASE_URL=postgres_url).stdout == "0\n"


def test_servers_of_tools_are_found_in_other_programs_files(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"command": "one"}
    monkeypatch.setenv(
        "MCP_SERVERS", json.dumps({"mcpServers": {"one": one, "two": {"command": "2", "disabled": True}}})
    )
    assert runpy.run_path(str(PROJECT / "config" / "settings.py"))["MCP_SERVERS"] == {"one": one}
