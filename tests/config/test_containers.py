"""The files that start the product in containers: checked by the linters and parsers of those tools, and compared with the project."""

import ipaddress
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from django.core.management import get_commands

from scripts import bootstrap
from tests.isolation import VARIABLES

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
DOCKERFILE = (PROJECT / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text("utf-8"))
#: The same with values for its variables: their defaults, or any text.
GIVEN: dict[str, Any] = yaml.safe_load(
    re.sub(
        r"\$\{\w+(?::-([^}]*)|:\?[^}]*)\}",
        lambda found: found[1] or "given",
        (PROJECT / "compose.yaml").read_text("utf-8"),
    )
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=PROJECT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_the_dockerfile_pleases_its_linter() -> None:
    done = run(PROGRAMS / "hadolint", "--no-color", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_proxy_takes_its_file_and_has_nothing_to_format() -> None:
    done = run(PROGRAMS / "caddy", "adapt", "--config", "Caddyfile", "--validate")
    assert done.returncode == 0, done.stderr
    assert run(PROGRAMS / "caddy", "fmt", "Caddyfile").stdout == (PROJECT / "Caddyfile").read_text("utf-8")
    (route,) = json.loads(done.stdout)["apps"]["http"]["servers"]["srv0"]["routes"]
    handlers = {each["handler"]: each for each in route["handle"]}
    assert handlers["request_body"]["max_size"] == 21_000_000
    upstreams = [upstream["dial"] for upstream in handlers["reverse_proxy"]["upstreams"]]
    assert upstreams == [f"{name}:8000" for name in SERVICES if name.startswith("web-")]


def test_no_proxy_is_trusted_but_of_private_networks() -> None:
    for name in OURS:
        trusted = GIVEN["services"][name]["environment"]["TRUSTED_PROXIES"].split(",")
        assert trusted
        assert all(ipaddress.ip_network(network).is_private for network in trusted), name


def test_the_composition_is_what_the_specification_says() -> None:
    assert set(PyCompose.from_json(json.dumps(GIVEN)).service_names()) == set(SERVICES)
    # Unknown keys are refused.
    with pytest.raises(ValueError, match="replicas"):
        PyCompose.from_json(json.dumps({"services": {"web": {"image": "x", "replicas": 2}}}))


def test_files_copied_into_the_image_exist() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert {"agents", "chat", "config", "templates", "static", "manage.py", "requirements.lock"} <= names
    assert [name for name in names if not (PROJECT / name).exists()] == []
    ignored = (PROJECT / ".dockerignore").read_text("utf-8")
    assert names == set(re.findall(r"^!(\S+)$", ignored, re.MULTILINE))


def test_the_image_runs_as_nobody_special() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\d+)$", last, re.MULTILINE) == ["10001"]
    assert not {"apt-get", "--privileged"} & set(DOCKERFILE.split())
    oldest = ".".join(map(str, bootstrap.OLDEST_PYTHON))
    assert f"ARG PYTHON={oldest}\n" in DOCKERFILE


def test_every_role_is_there_and_every_command_exists() -> None:
    assert {"web-1", "web-2", "worker-1", "worker-2", "ticker", "prepare"} == set(OURS)
    assert {"proxy", "postgres", "redis"} == set(SERVICES) - set(OURS)
    for service in OURS.values():
        match service["command"]:
            case ["python", "manage.py", command, *_]:
                assert command in get_commands()
            case ["python", "-m", "config.prepare"]:
                pass
            case ["celery", "-A", "config", "worker", *options]:
                assert run(sys.executable, "-m", "celery", "worker", *options, "--help").returncode == 0
            case other:
                pytest.fail(f"{other} is none of ours")


def test_no_secret_stands_there_and_every_setting_exists() -> None:
    for service in OURS.values():
        assert set(service["environment"]) <= set(VARIABLES)
    secret = re.compile(r"SECRET|PASSWORD|KEY")
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if secret.search(name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name
        assert not re.search(r"://[^$@/]*:[^$@/]+@", str(service.get("environment", {})))


def test_permanent_services_are_checked_and_restarted() -> None:
    for name, service in SERVICES.items():
        if service.get("restart") != "no" and name != "ticker":
            assert "test" in service["healthcheck"], name
    assert any("database:" in volume for volume in SERVICES["postgres"]["volumes"])
    named = {volume.partition(":")[0] for s in SERVICES.values() for volume in s.get("volumes", ())}
    assert {volume for volume in named if not volume.startswith(".")} == set(COMPOSE["volumes"])
    # Longer than the product takes to stop with the default of SHUTDOWN_S.
    assert all(service["stop_grace_period"] == "30s" for service in OURS.values())


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_only_the_access_that_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    # A network that all of them share could be used by an attacker in any of them.
    assert service["networks"]
    assert ("ports" in service) is (name == "proxy")
    assert not service.get("privileged")
    assert not {"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"} & set(service.get("cap_add", ()))
    for volume in service.get("volumes", ()):
        assert not volume.startswith(("/", "~"))


def test_databases_are_reached_by_the_product_only() -> None:
    assert COMPOSE["networks"]["data"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "data" in service["networks"]} == {*OURS, "postgres", "redis"}
    assert [SERVICES[name]["networks"] for name in ("postgres", "redis", "proxy")] == [["data"], ["data"], ["edge"]]
    assert "--requirepass" in SERVICES["redis"]["command"]
    for service in OURS.values():
        for setting in ("REDIS_URL", "BROKER_URL"):
            assert re.match(r"redis://:\$\{REDIS_PASSWORD:\?[^}]+\}@redis:", service["environment"][setting])


def test_no_health_check_counts_on_what_only_some_engines_set() -> None:
    for name, service in SERVICES.items():
        assert "HOSTNAME" not in str(service.get("healthcheck")), name
