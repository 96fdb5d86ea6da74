"""Webhooks, to a real receiver: sent once when a run has ended, signed, retried, disabled after failures; and without delaying a run."""

import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.test import AsyncClient, Client, override_settings
from django.utils import timezone

import agents
from chat.accounts.models import User
from chat.models import DeliveryState, RunStatus, Webhook, WebhookDelivery
from chat.runs import state as run_state
from chat.runs.state import End
from chat.runtime import background, database
from chat.serving.webhook_delivery import Deliverer
from chat.store import webhooks
from tests.chat import making

README = (Path(__file__).resolve().parents[3] / "README.md").read_text("utf-8")


class Receiver:
    """A receiver: stores each request's headers and body; answers with ``status``, or never while ``silent``."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.goes_on = threading.Event()
        self.goes_on.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.goes_on.wait(20)
                self.send_response(receiver.status)
                self.send_header("Location", receiver.url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.goes_on.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
async def owner(transactional_db: None) -> AsyncIterator[User]:
    with override_settings(WEBHOOKS=True):
        yield await database.write(making.user, "bo")
    database.close()


def near(total_s: float = 10.0) -> agents.Poster:
    """A sender that may connect to this machine."""
    return agents.Poster(allow_address=lambda address: address.is_loopback, allow_port=lambda _: True, total_s=total_s)


async def deliver(deliverer: Deliverer) -> None:
    """Send what is due, and wait for the result."""
    await deliverer.send_due()
    for task in [task for task in background.tasks if task.get_name() == "webhook"]:
        await task


def ended_run(owner: User) -> str:
    run = making.run(making.session(owner, title="Tea and cake"))
    making.end(run)
    return str(run.pk)


def waiting_run(owner: User) -> str:
    run = making.run(making.session(owner, title="Tea and cake"))
    with transaction.atomic():
        assert run_state.suspend(run, End(RunStatus.WAITING))
    return str(run.pk)


def verifier() -> Callable[[dict[str, str], bytes, str], bool]:
    """The README's own five lines."""
    (block,) = [
        code for code in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if "is_ours" in code
    ]
    names: dict[str, Any] = {}
    exec(block, names)
    return names["is_ours"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "kind", "status"), [(ended_run, "run.ended", "completed"), (waiting_run, "run.waiting", "waiting")]
)
async def test_a_run_is_told_once_signed_and_without_its_words(
    owner: User, receiver: Receiver, make: Callable[[User], str], kind: str, status: str
) -> None:
    _, secret = await database.write(webhooks.make_webhook, owner, receiver.url)
    run_id = await database.write(make, owner)
    deliverer = Deliverer(near())
    for _ in range(2):
        await deliver(deliverer)
    ((headers, body),) = receiver.got
    delivered = json.loads(body)
    assert delivered["type"] == kind
    assert set(delivered["data"]) == {"session_id", "run_id", "status", "title", "url"}
    assert (delivered["data"]["run_id"], delivered["data"]["status"], delivered["data"]["title"]) == (
        run_id,
        status,
        "Tea and cake",
    )
    assert delivered["data"]["url"].endswith(f"/sessions/{delivered['data']['session_id']}/#run-{run_id}")
    is_ours = verifier()
    assert is_ours(headers, body, secret)
    assert not is_ours(headers, body + b" ", secret)
    assert not is_ours({**headers, "webhook-id": "another"}, body, secret)
    assert not is_ours({**headers, "webhook-timestamp": "1"}, body, secret)
    delivery = await database.read(WebhookDelivery.objects.get)
    assert (str(delivery.pk), delivery.state, delivery.attempts) == (headers["webhook-id"], DeliveryState.DELIVERED, 1)


async def test_only_the_owner_s_webhooks_hear_of_it_and_none_of_runs_within_runs(
    owner: User, receiver: Receiver
) -> None:
    def make() -> None:
        webhooks.make_webhook(making.user("cy"), receiver.url)
        webhooks.make_webhook(owner, receiver.url)
        run = making.run(making.session(owner))
        child = making.run(run.session, parent=run, depth=1, owned_by="")
        making.end(child, RunStatus.CANCELLED)

    await database.write(make)
    assert await database.read(WebhookDelivery.objects.count) == 0
    await database.write(ended_run, owner)
    owners = await database.read(
        lambda: [each.webhook.owner_id for each in WebhookDelivery.objects.select_related("webhook")]
    )
    assert owners == [owner.pk]


async def test_webhooks_are_neither_stored_nor_sent_where_they_are_off(owner: User, receiver: Receiver) -> None:
    await database.write(webhooks.make_webhook, owner, receiver.url)
    with override_settings(WEBHOOKS=False):
        await database.write(ended_run, owner)
        await deliver(Deliverer(near()))
    assert await database.read(WebhookDelivery.objects.count) == 0


#: What the receiver does, and the recorded error.
FAILURES = {
    "refuses": (500, "500"),
    "leads elsewhere": (302, "302"),
    "is gone": (410, "410"),
    "is silent": (0, "within"),
}


@pytest.mark.parametrize(("status", "words"), FAILURES.values(), ids=FAILURES)
async def test_a_failed_delivery_is_retried_under_the_same_id(
    owner: User, receiver: Receiver, status: int, words: str
) -> None:
    await database.write(webhooks.make_webhook, owner, receiver.url)
    await database.write(ended_run, owner)
    receiver.status = status or 204
    if not status:
        receiver.goes_on.clear()
    deliverer = Deliverer(near(total_s=0.3))
    await deliver(deliverer)
    first = await database.read(WebhookDelivery.objects.get)
    assert (first.state, first.attempts) == (DeliveryState.WAITING, 1)
    assert words in first.error
    assert first.next_at > timezone.now()
    await deliver(deliverer)
    assert len(receiver.got) == 1, "not before its time"
    receiver.goes_on.set()
    receiver.status = 200
    await database.write(WebhookDelivery.objects.update, next_at=timezone.now())
    await deliver(Deliverer(near()))
    assert (await database.read(WebhookDelivery.objects.get)).state == DeliveryState.DELIVERED
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert (await database.read(Webhook.objects.get)).failing_since is None


async def test_a_process_that_dies_with_a_delivery_leaves_it_to_the_next(owner: User, receiver: Receiver) -> None:
    await database.write(webhooks.make_webhook, owner, receiver.url)
    await database.write(ended_run, owner)
    (lost,) = await database.write(webhooks.claim_due, 4, set())
    assert await database.write(webhooks.claim_due, 4, set()) == [], "it belongs to whoever has claimed it"
    await database.write(WebhookDelivery.objects.update, next_at=F("next_at") - timedelta(minutes=2))
    await deliver(Deliverer(near()))
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [str(lost.delivery_id)]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://169.254.169.254/latest/", "http://[::1]/", "http://localhost/"]
)
async def test_webhooks_are_only_sent_to_public_addresses(owner: User, url: str) -> None:
    await database.write(webhooks.make_webhook, owner, url)
    await database.write(ended_run, owner)
    await deliver(Deliverer())
    delivery = await database.read(WebhookDelivery.objects.get)
    assert "not on the public internet" in delivery.error


async def test_failed_deliveries_are_given_up_and_then_the_webhook(owner: User, receiver: Receiver) -> None:
    receiver.status = 500
    await database.write(webhooks.make_webhook, owner, receiver.url)
    await database.write(ended_run, owner)
    deliverer = Deliverer(near())
    for _ in range(len(webhooks.RETRY_AFTER) + 1):
        await database.write(WebhookDelivery.objects.update, next_at=timezone.now())
        await deliver(deliverer)
    assert (await database.read(WebhookDelivery.objects.get)).state == DeliveryState.FAILED
    await database.write(Webhook.objects.update, failing_since=timezone.now() - webhooks.GIVEN_UP_AFTER)
    await database.write(ended_run, owner)
    await deliver(deliverer)
    webhook = await database.read(Webhook.objects.get)
    assert webhook.disabled_at is not None
    before = await database.read(WebhookDelivery.objects.count)
    await database.write(ended_run, owner)
    assert await database.read(WebhookDelivery.objects.count) == before, "nothing more is kept for it"
    receiver.status = 200
    assert await database.write(webhooks.revive_webhook, owner.pk, webhook.pk)
    await deliver(deliverer)
    await deliver(deliverer)
    assert json.loads(receiver.got[-1][1])["type"] in ("ping", "run.ended")
    assert (await database.read(Webhook.objects.get)).disabled_at is None


async def test_a_secret_outlives_a_key_that_is_kept_as_a_former_one(owner: User, receiver: Receiver) -> None:
    _, secret = await database.write(webhooks.make_webhook, owner, receiver.url)
    with override_settings(SECRET_KEY="another" * 8, SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        await database.write(ended_run, owner)
        await deliver(Deliverer(near()))
    assert verifier()(*receiver.got[0], secret)
    with override_settings(SECRET_KEY="another" * 8):
        await database.write(ended_run, owner)
        await deliver(Deliverer(near()))
    assert len(receiver.got) == 1, "nothing goes out that nobody could check"
    assert "SECRET_KEY" in (await database.read(lambda: WebhookDelivery.objects.get(state="waiting"))).error


# The page


@pytest.fixture
def bo(client: Client, db: None) -> Iterator[User]:
    user = making.user("bo")
    client.force_login(user)
    with override_settings(WEBHOOKS=True):
        yield user


def test_a_webhook_is_made_its_secret_shown_once_and_removed(client: Client, bo: User) -> None:
    page = client.post("/accounts/webhooks/", {"url": " https://hooks.example.org/x?y=1 "}).content.decode()
    (secret,) = re.findall(r">(whsec_[0-9A-Za-z+/=]+)<", page)
    webhook = Webhook.objects.get()
    assert webhook.url == "https://hooks.example.org/x?y=1"
    assert secret not in client.get("/accounts/webhooks/").content.decode()
    assert client.post(f"/accounts/webhooks/{webhook.pk}/test/").status_code == 302
    assert WebhookDelivery.objects.get().event == "ping"
    assert client.post(f"/accounts/webhooks/{webhook.pk}/remove/").status_code == 302
    assert not WebhookDelivery.objects.exists()


BAD_ADDRESSES = [
    "",
    "hooks.example.org",
    "ftp://example.org/",
    "javascript:alert(1)",
    "https://user:secret@example.org/",
    "https://example.org:8443/",
    "http://2130706433/",
    "https://" + "x" * 1000,
    "https://example.org/\nHost: x",
]


@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_an_invalid_address_makes_no_webhook(client: Client, bo: User, url: str) -> None:
    answer = client.post("/accounts/webhooks/", {"url": url})
    assert answer.status_code == 400
    assert not Webhook.objects.exists()


def test_an_account_has_so_many_webhooks_and_no_more(client: Client, bo: User) -> None:
    for number in range(webhooks.MOST_WEBHOOKS):
        webhooks.make_webhook(bo, f"https://example.org/{number}")
    assert client.post("/accounts/webhooks/", {"url": "https://example.org/"}).status_code == 400
    assert Webhook.objects.count() == webhooks.MOST_WEBHOOKS


#: A delivery: its state, its owner, and the answer to a request to send it again.
SENT: dict[str, tuple[dict[str, Any], str, int]] = {
    "given up": ({"state": DeliveryState.FAILED, "attempts": 9}, "bo", 302),
    "it waits for its time": ({"attempts": 2, "next_at": timezone.now() + timedelta(hours=2)}, "bo", 302),
    "it has arrived": ({"state": DeliveryState.DELIVERED, "attempts": 1}, "bo", 404),
    "another's": ({"state": DeliveryState.FAILED, "attempts": 9}, "cy", 404),
}


@pytest.mark.parametrize("case", SENT)
def test_a_delivery_is_sent_again_for_its_owner_only(client: Client, bo: User, case: str) -> None:
    fields, whose, status = SENT[case]
    owner = bo if whose == "bo" else making.user(whose)
    webhook, _ = webhooks.make_webhook(owner, "https://example.org/")
    sent = WebhookDelivery.objects.create(webhook=webhook, event="run.ended", **fields)
    before = WebhookDelivery.objects.values().get()
    address = f"/accounts/webhooks/deliveries/{sent.pk}/retry/"
    offered = address in client.get("/accounts/webhooks/").content.decode()
    assert offered is (status == 302)
    assert client.get(address).status_code == 405
    assert client.post(address).status_code == status
    if status == 302:
        assert webhooks.is_any_due()
        sent.refresh_from_db()
        assert (sent.state, sent.attempts) == (DeliveryState.WAITING, 0), "it has all its attempts again"
    else:
        assert WebhookDelivery.objects.values().get() == before


def test_a_disabled_webhook_is_sent_nothing_again(client: Client, bo: User) -> None:
    webhook, _ = webhooks.make_webhook(bo, "https://example.org/")
    sent = WebhookDelivery.objects.create(webhook=webhook, event="run.ended", state=DeliveryState.FAILED, attempts=9)
    Webhook.objects.update(disabled_at=timezone.now())
    address = f"/accounts/webhooks/deliveries/{sent.pk}/retry/"
    assert address not in client.get("/accounts/webhooks/").content.decode()
    assert client.post(address).status_code == 404


async def test_a_repeated_delivery_has_the_same_id(owner: User, receiver: Receiver) -> None:
    receiver.status = 500
    await database.write(webhooks.make_webhook, owner, receiver.url)
    await database.write(ended_run, owner)
    deliverer = Deliverer(near())
    await deliver(deliverer)
    (tried,) = await database.read(lambda: list(WebhookDelivery.objects.all()))
    receiver.status = 204
    page = AsyncClient()
    await page.aforce_login(owner)
    assert (await page.post(f"/accounts/webhooks/deliveries/{tried.pk}/retry/")).status_code == 302
    await deliver(deliverer)
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [str(tried.pk)] * 2
    assert (await database.read(WebhookDelivery.objects.get)).state == DeliveryState.DELIVERED


# What staff see


@pytest.mark.parametrize(("permissions", "status"), [(("chat.view_webhook",), 200), (("chat.view_run",), 403)])
def test_staff_see_whose_they_are_and_that_nothing_arrives_but_no_address(
    client: Client, db: None, permissions: tuple[str, ...], status: int
) -> None:
    client.force_login(making.staff(*permissions))
    webhook, _ = webhooks.make_webhook(making.user("bo"), "https://hooks.example.org/services/T0/secret?key=1")
    Webhook.objects.update(failing_since=timezone.now())
    WebhookDelivery.objects.create(webhook=webhook, event="run.ended", attempts=1, error="It answered with status 500.")
    listed = client.get("/admin/chat/webhook/")
    one = client.get(f"/admin/chat/webhook/{webhook.pk}/change/")
    assert (listed.status_code, one.status_code) == (status, status)
    if status == 200:
        for words in ("hooks.example.org", "bo", "Nothing arrives"):
            assert words in listed.content.decode()
        assert "It answered with status 500." in one.content.decode()
        assert 'name="_save"' not in one.content.decode()
        for page in (listed, one):
            assert "secret" not in page.content.decode()
