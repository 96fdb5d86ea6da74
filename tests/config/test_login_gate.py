"""The queue before everything that hashes a password: few at a time, fair, bounded."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.test import Client

from chat.accounts.models import User
from config import login_gate, passwords
from config.login_gate import FairQueue, Full, LoginGate


async def settled() -> None:
    """Let all tasks do what they can."""
    for _ in range(100):
        await asyncio.sleep(0)


async def entering(queue: FairQueue, client: str, entered: list[str]) -> asyncio.Task[None]:
    """A client that waits in the queue, and is recorded when it is let in."""

    async def enter() -> None:
        await queue.enter(client)
        entered.append(client)

    task = asyncio.create_task(enter())
    await asyncio.sleep(0)
    return task


async def test_clients_take_turns() -> None:
    queue, entered = FairQueue(at_once=1, most=20, most_of_one=10), list[str]()
    await queue.enter("first")
    tasks = [await entering(queue, client, entered) for client in ["flood"] * 5 + ["ada", "bo"]]
    for _ in tasks:
        queue.leave()
        await settled()
    assert entered == ["flood", "ada", "bo", "flood", "flood", "flood", "flood"]
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(("others", "full"), [(["a"] * 3, "a"), (["a", "a", "b", "c"], "d")])
async def test_a_line_is_bounded_for_each_and_for_all(others: list[str], full: str) -> None:
    queue, entered = FairQueue(at_once=1, most=4, most_of_one=3), list[str]()
    await queue.enter("first")
    tasks = [await entering(queue, client, entered) for client in others]
    with pytest.raises(Full):
        await queue.enter(full)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    queue.leave()
    await queue.enter("everybody else has left")
    assert entered == []


async def test_a_login_that_waits_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_gate, "PATIENCE_S", 0.01)
    queue = FairQueue(at_once=1, most=4, most_of_one=3)
    await queue.enter("first")
    with pytest.raises(Full):
        await queue.enter("second")
    queue.leave()
    await queue.enter("third")


@pytest.mark.parametrize(
    ("method", "path", "is_held"),
    [
        ("POST", "/accounts/login/", True),
        ("POST", "/accounts/signup/", True),
        ("POST", "/accounts/password_change/", True),
        ("POST", "/admin/login/", True),
        ("POST", "/admin/accounts/user/add/", True),
        ("GET", "/accounts/login/", False),
        ("POST", "/api/sessions/", False),
        ("GET", "/healthz", False),
        ("GET", "/", False),
    ],
)
async def test_only_requests_that_hash_a_password_wait(method: str, path: str, is_held: bool) -> None:
    at_work, most, go_on = 0, 0, asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await go_on.wait()
        at_work -= 1

    async def ask() -> None:
        await gate({"type": "http", "method": method, "path": path, "client": ["192.0.2.1", 1]}, None, None)

    gate = LoginGate(application)
    tasks = [asyncio.create_task(ask()) for _ in range(10)]
    await settled()
    go_on.set()
    await asyncio.gather(*tasks)
    assert most == (4 if is_held else 10), "too many are let in at once"


async def test_a_provider_that_is_slow_holds_up_no_other_login() -> None:
    begun: list[str] = []
    go_on = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        if "oidc" in scope["path"]:
            await go_on.wait()

    gate = LoginGate(application)
    asked = [("GET", "/accounts/oidc/callback/")] * 40 + [("GET", "/accounts/login/"), ("POST", "/accounts/login/")]
    tasks = [
        asyncio.create_task(
            gate({"type": "http", "method": method, "path": path, "client": ["192.0.2.1", 1]}, None, None)
        )
        for method, path in asked
    ]
    await settled()
    assert begun.count("/accounts/login/") == 2
    assert begun.count("/accounts/oidc/callback/") == 8
    go_on.set()
    await asyncio.gather(*tasks)


async def test_a_refused_login_says_so() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    gate = LoginGate(application)
    scope = {"type": "http", "method": "POST", "path": "/accounts/login/", "client": ["192.0.2.1", 1]}
    waiting = [asyncio.create_task(gate(scope, None, send)) for _ in range(200)]
    await settled()
    headers = dict(sent[0]["headers"])
    assert (sent[0]["status"], headers[b"retry-after"]) == (503, b"10")
    assert b"Nothing is wrong with your account" in sent[1]["body"]
    assert headers[b"content-security-policy"].startswith(b"default-src 'none'; ")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_few_passwords_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = threading.Barrier(2 * passwords.HASHES_AT_ONCE)
    at_work: list[int] = []
    most = 0

    def encode(*_: Any) -> str:
        nonlocal most
        at_work.append(1)
        most = max(most, len(at_work))
        # All of them meet, unless they wait for one another: then this breaks, for the others at once.
        with contextlib.suppress(threading.BrokenBarrierError):
            everybody.wait(0.3)
        at_work.pop()
        return ""

    monkeypatch.setattr(hashers.Argon2PasswordHasher, "encode", encode)
    with ThreadPoolExecutor(everybody.parties) as threads:
        list(
            threads.map(
                passwords.Argon2PasswordHasher().encode, ["one"] * everybody.parties, ["salt"] * everybody.parties
            )
        )
    assert most == passwords.HASHES_AT_ONCE, "too many are hashed at once"


class Owasp(passwords.Argon2PasswordHasher):
    """The installation's hasher; that of the tests is made cheap."""

    time_cost, memory_cost, parallelism = 2, 19_456, 1


def test_hashes_are_as_owasp_advises_and_old_ones_are_made_anew(db: None, settings: Any) -> None:
    old = hashers.make_password("the right one", hasher=hashers.Argon2PasswordHasher())
    assert "$argon2id$v=19$m=102400,t=2,p=8$" in old
    user = User.objects.create(username="ada", password=old)
    settings.PASSWORD_HASHERS = [f"{__name__}.Owasp"]
    assert Client().post("/accounts/login/", {"username": "ada", "password": "wrong"}).status_code == 200
    assert Client().post("/accounts/login/", {"username": "ada", "password": "the right one"}).status_code == 302
    user.refresh_from_db()
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in user.password
    assert user.check_password("the right one")


def test_a_name_that_nobody_has_costs_as_many_hashes(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for name in ("encode", "verify"):
        stock = getattr(passwords.Argon2PasswordHasher, name)

        def counted(self: Any, *args: Any, _stock: Any = stock, _name: str = name) -> Any:
            made.append(_name)
            return _stock(self, *args)

        monkeypatch.setattr(passwords.Argon2PasswordHasher, name, counted)
    User.objects.create_user("ada", password="the right one")
    User.objects.create_user("gone", password="the right one", is_active=False)
    User.objects.create_user("without", password=None)
    made.clear()
    counts = {}
    for name in ("ada", "gone", "without", "nobody"):
        Client().post("/accounts/login/", {"username": name, "password": "wrong"})
        counts[name] = len(made)
        made.clear()
    assert set(counts.values()) == {1}, counts
