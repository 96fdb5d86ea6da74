"""The image and all of `compose.yaml`, run for real: only where an engine is named.

``CONTAINER_ENGINE=podman`` (with podman-compose) or ``CONTAINER_ENGINE=docker``; ``CONTAINER_BUILD_OPTIONS`` are further options of its
``build``, for a machine that reaches registries in its own way. Ports 8700 and 8743 of loopback must be free.
"""

import contextlib
import json
import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faults.oracle import Oracle
from tests.faults.world import until
from tests.serving import PASSWORD, ROOT, Browser

ENGINE = os.environ.get("CONTAINER_ENGINE", "")
pytestmark = [
    pytest.mark.long,
    pytest.mark.scale,
    pytest.mark.skipif(not ENGINE, reason="needs a container engine, which CONTAINER_ENGINE names"),
]
COMPOSE = {"docker": ["docker", "compose"], "podman": ["podman-compose"]}
PORT = 8700
ADDRESS = f"http://127.0.0.1:{PORT}"
#: The most that our own layers may have: with the slim image of Python, which has 130 MB, less than 500.
MOST_OF_OURS = 370e6


def engine(*arguments: str, check: bool = True) -> str:
    """Run the engine; returns its output."""
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def size_of(image: str) -> int:
    """The bytes of an image."""
    return int(json.loads(engine("image", "inspect", image))[0]["Size"])


class Composition:
    """The services of the file, started one by one: not every engine follows the order that the file gives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        described: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
        self.services: dict[str, dict[str, Any]] = described["services"]
        for service in self.services.values():
            service.pop("depends_on", None)
            service.pop("build", None)
        described = {name: value for name, value in described.items() if not name.startswith("x-")}
        described["name"] = self.name = f"thinkaloud-test-{secrets.token_hex(3)}"
        (folder / "compose.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
        (folder / "Caddyfile").write_text((ROOT / "Caddyfile").read_text("utf-8"))
        values = {name: secrets.token_hex(16) for name in ("SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD")}
        values |= {"DJANGO_SUPERUSER_USERNAME": "ada", "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def run(self, *arguments: str) -> str:
        """Run the compose program in the folder."""
        environment = {**os.environ, "HTTP_PORT": f"127.0.0.1:{PORT}", "HTTPS_PORT": "127.0.0.1:8743"}
        done = subprocess.run(
            [*COMPOSE[ENGINE], "--project-name", self.name, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def container(self, service: str) -> str:
        """The name of a service's container in its engine."""
        names = engine("ps", "--all", "--format", "{{.Names}}").split()
        (found,) = [name for name in names if name in {f"{self.name}_{service}_1", f"{self.name}-{service}-1"}]
        return found

    def logs(self, service: str) -> str:
        """What a service's container has written to both of its outputs."""
        asked = [ENGINE, "logs", self.container(service)]
        return subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout

    def is_healthy(self, service: str) -> bool:
        """Run the service's own health check in its container."""
        kind, *command = self.services[service]["healthcheck"]["test"]
        command = [part.replace("$$", "$") for part in command]
        asked = ["sh", "-c", *command] if kind == "CMD-SHELL" else command
        done = subprocess.run([ENGINE, "exec", self.container(service), *asked], capture_output=True, check=False)
        return done.returncode == 0

    def start(self, *services: str) -> None:
        """Start services, and wait until they are healthy."""
        self.run("up", "--detach", "--no-build", *services)
        ends_at = time.monotonic() + 120
        for service in services:
            while "healthcheck" in self.services[service] and not self.is_healthy(service):
                assert time.monotonic() < ends_at, self.logs(service)
                time.sleep(0.5)

    def recreate(self, service: str) -> None:
        """As at an upgrade: stop it with SIGTERM, remove it, and start it from the image."""
        engine("stop", "--time", "30", self.container(service))
        engine("rm", self.container(service))
        self.start(service)


@pytest.fixture(scope="module")
def image() -> str:
    """The image, built as documented."""
    options = shlex.split(os.environ.get("CONTAINER_BUILD_OPTIONS", ""))
    engine("build", *options, "--tag", "thinkaloud", str(ROOT))
    return "thinkaloud"


@pytest.fixture(scope="module")
def composition(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composition]:
    """All services, running and healthy."""
    made = Composition(tmp_path_factory.mktemp("compose"))
    try:
        made.start("postgres", "redis")
        made.run("up", "--detach", "--no-build", "prepare")
        assert engine("wait", made.container("prepare")).split() == ["0"], made.logs("prepare")
        made.start("web-1", "web-2", "worker-1", "worker-2", "ticker")
        made.start("proxy")
        yield made
    finally:
        with contextlib.suppress(AssertionError):
            made.run("down", "--volumes", "--timeout", "10")


def test_the_image_is_small(image: str) -> None:
    base = "docker.io/library/python:3.11-slim-bookworm"
    assert size_of(image) - size_of(base) < MOST_OF_OURS


@pytest.mark.parametrize("service", ["postgres", "redis", "web-1", "web-2", "worker-1", "worker-2", "proxy"])
def test_every_health_check_is_true(composition: Composition, service: str) -> None:
    assert composition.is_healthy(service)


def test_a_health_check_can_fail(composition: Composition) -> None:
    engine("pause", composition.container("redis"))
    try:
        assert not composition.is_healthy("worker-1")
    finally:
        engine("unpause", composition.container("redis"))


async def test_questions_through_the_proxy_while_everything_is_replaced(composition: Composition) -> None:
    """Messages are sent while processes are killed, stopped and replaced one after another: each is answered, no step is missing."""
    async with Browser.logged_in(ADDRESS, "ada") as browser:
        session = await browser.new_session()
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        async with Oracle(lambda: [ADDRESS], cookie, session, name="ada") as client:
            assert await client.ended(await client.ask("What is 17 % of 2,340?"), 60) == "completed"
            engine("kill", composition.container("web-1"))
            assert await client.ended(await client.ask("What is 18 % of 2,340?"), 60) == "completed"
            composition.start("web-1")
            for service in ("worker-1", "worker-2", "web-1", "web-2", "ticker"):
                composition.recreate(service)
                assert await client.ended(await client.ask(f"What is 19 % of {len(service)}?"), 60) == "completed"
            await until(lambda: client.is_connected, 30, "the client to be connected")
            assert client.violations == []
