"""Webhooks, created and deleted by their owner; and their deliveries, stored in the transaction of the event and kept until sent.

The end of a run costs one query if webhooks are allowed. Deliveries are sent later, by a task of their own.
"""

import base64
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypedDict
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.models import DeliveryState, Run, Webhook, WebhookDelivery
from chat.store.links import page_address

#: The most webhooks of an account.
MOST_WEBHOOKS = 10
RUN_ENDED, RUN_WAITING, PING = "run.ended", "run.waiting", "ping"
#: Pauses before each further attempt; after the last one the delivery fails for good.
RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (0.25, 1, 5, 30, 120, 360, 720, 1440))
#: A webhook is disabled if for so long all attempts have failed.
GIVEN_UP_AFTER = timedelta(days=3)
#: How long a claimed delivery belongs to a process: longer than any attempt takes.
_LEASE = timedelta(seconds=60)
_KEPT_FOR = timedelta(days=30)
#: How many old deliveries are deleted at a time.
_SWEPT = 500


class TooManyWebhooks(Exception):
    """The account already has the most webhooks that are allowed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A delivery to attempt now: address, identifier, body, and the secret that signs it. None: the secret is lost."""

    delivery_id: UUID
    webhook_id: UUID
    url: str
    body: bytes
    secret: bytes | None

    def headers(self, now: float) -> dict[str, str]:
        """The request's headers, by the Standard Webhooks specification. ``now``: Unix seconds."""
        stamp = str(int(now))
        signed = f"{self.delivery_id}.{stamp}.".encode() + self.body
        signature = base64.b64encode(hmac.digest(self.secret or b"", signed, "sha256")).decode()
        return {
            "Content-Type": "application/json",
            "webhook-id": str(self.delivery_id),
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature}",
        }


# Created and deleted


@transaction.atomic
def make_webhook(user: User, url: str) -> tuple[Webhook, str]:
    """Create a webhook. Returns its row and its secret, which is not stored. Raises `TooManyWebhooks`."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if Webhook.objects.filter(owner=user).count() >= MOST_WEBHOOKS:
        raise TooManyWebhooks
    made = Webhook(owner=user, url=url)
    secret = _derived(settings.SECRET_KEY, made.pk)
    made.fingerprint = _fingerprint(secret)
    made.save(force_insert=True)
    return made, f"whsec_{base64.b64encode(secret).decode()}"


def remove_webhook(user_id: int, webhook_id: UUID) -> bool:
    """Delete one of an account's webhooks, with its pending deliveries. Returns False if there is none of that identifier."""
    return bool(Webhook.objects.filter(owner=user_id, pk=webhook_id).delete()[0])


def revive_webhook(user_id: int, webhook_id: UUID) -> bool:
    """Enable a disabled webhook, and retry its deliveries. Returns False if there is none of that identifier."""
    own = Webhook.objects.filter(owner=user_id, pk=webhook_id)
    if not own.update(disabled_at=None, failing_since=None):
        return False
    WebhookDelivery.objects.create(webhook_id=webhook_id, event=PING)
    return True


def webhooks_of(user_id: int) -> list[Webhook]:
    """An account's webhooks, the oldest first."""
    return list(Webhook.objects.filter(owner=user_id))


def retry_delivery(user_id: int, delivery_id: UUID) -> bool:
    """Retry a delivery now, even if it has failed for good. Returns False if there is none of that identifier, or if it was received."""
    own = WebhookDelivery.objects.filter(webhook__owner=user_id, pk=delivery_id).exclude(state=DeliveryState.DELIVERED)
    held = own.filter(webhook__disabled_at=None)
    return bool(held.update(state=DeliveryState.WAITING, next_at=timezone.now(), attempts=0, settled_at=None))


def latest_deliveries(webhook_id: UUID, most: int = 20) -> list[WebhookDelivery]:
    """The latest deliveries of a webhook, sent or pending."""
    return list(WebhookDelivery.objects.filter(webhook=webhook_id)[:most])


def record_end(run_id: UUID) -> None:
    """Queue deliveries about a run that has ended, in the transaction that ends it.

    Not for runs within others, nor for runs of sets.
    """
    _note(run_id, RUN_ENDED)


def record_waiting(run_id: UUID) -> None:
    """Queue deliveries about a run that waits for people, in the transaction in which it begins to wait."""
    _note(run_id, RUN_WAITING)


def _note(run_id: UUID, event: str) -> None:
    if not settings.WEBHOOKS:
        return
    whose = "owner__sessions"
    runs = {f"{whose}__runs": run_id, f"{whose}__runs__parent": None, f"{whose}__for_set": None}
    webhooks = Webhook.objects.filter(disabled_at=None, **runs).values_list("pk", flat=True)
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(webhook_id=webhook_id, event=event, run_id=run_id) for webhook_id in webhooks
    )


# Delivered


def is_any_due() -> bool:
    """Whether a delivery is due."""
    due = WebhookDelivery.objects.filter(state=DeliveryState.WAITING, next_at__lte=timezone.now())
    return due.filter(webhook__disabled_at=None).exists()


@transaction.atomic
def claim_due(most: int, busy: Collection[UUID]) -> list[Attempt]:
    """Claim due deliveries, one for each webhook that is not in ``busy``, so that no other process takes them for a while."""
    now = timezone.now()
    due = WebhookDelivery.objects.select_for_update(skip_locked=True, of=("self",)).select_related("webhook")
    due = due.filter(state=DeliveryState.WAITING, next_at__lte=now, webhook__disabled_at=None)
    found: dict[UUID, WebhookDelivery] = {}
    for delivery in due.exclude(webhook__in=busy).filter(webhook__owner__is_active=True).order_by("next_at")[:200]:
        found.setdefault(delivery.webhook_id, delivery)
    claimed = list(found.values())[:most]
    WebhookDelivery.objects.filter(pk__in=[each.pk for each in claimed]).update(
        next_at=now + _LEASE, attempts=F("attempts") + 1
    )
    runs = Run.objects.select_related("session").in_bulk([each.run_id for each in claimed if each.run_id])
    return [
        Attempt(
            each.pk,
            each.webhook_id,
            each.webhook.url,
            orjson.dumps(_webhook_body(each, runs.get(each.run_id) if each.run_id else None)),
            _secret_of(each.webhook),
        )
        for each in claimed
    ]


@transaction.atomic
def settle(attempt: Attempt, status: int | None, error: str) -> None:
    """Store the result of an attempt: received, to be retried later, or failed for good, which may also disable the webhook."""
    now = timezone.now()
    delivery = WebhookDelivery.objects.select_related("webhook").filter(pk=attempt.delivery_id).first()
    if delivery is None or delivery.state != DeliveryState.WAITING:
        return
    own = Webhook.objects.filter(pk=attempt.webhook_id)
    if not error:
        _settle(delivery, DeliveryState.DELIVERED, now, status, "")
        own.update(failing_since=None)
        return
    own.filter(failing_since=None).update(failing_since=now)
    if delivery.attempts > len(RETRY_AFTER):
        _settle(delivery, DeliveryState.FAILED, now, status, error)
    else:
        WebhookDelivery.objects.filter(pk=delivery.pk).update(
            next_at=now + RETRY_AFTER[delivery.attempts - 1], status=status, error=error[:300]
        )
    own.filter(disabled_at=None, failing_since__lte=now - GIVEN_UP_AFTER).update(disabled_at=now)


def _settle(delivery: WebhookDelivery, state: DeliveryState, now: datetime, status: int | None, error: str) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk).update(state=state, settled_at=now, status=status, error=error[:300])


def sweep_deliveries() -> None:
    """Delete some of the deliveries that are past their time."""
    old = WebhookDelivery.objects.filter(created_at__lt=timezone.now() - _KEPT_FOR).order_by()
    WebhookDelivery.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:_SWEPT])).delete()


class WebhookData(TypedDict, total=False):
    """The run of the event. Empty for a test; only the run's identifier if it was deleted."""

    run_id: str
    session_id: str
    status: str
    title: str
    """The session's title."""
    url: str


class WebhookBody(TypedDict):
    """The body of a delivery."""

    type: str
    timestamp: str
    """When it happened, in ISO 8601."""
    data: WebhookData


def _webhook_body(delivery: WebhookDelivery, run: Run | None) -> WebhookBody:
    """The body of a delivery: identifiers, title and link, but no questions or answers."""
    data: WebhookData = {}
    if delivery.run_id is not None:
        data["run_id"] = str(delivery.run_id)
    if run is not None:
        data |= {
            "session_id": str(run.session_id),
            "status": run.status,
            "title": run.session.title,
            "url": page_address(f"/sessions/{run.session_id}/#run-{run.pk}"),
        }
    return {"type": delivery.event, "timestamp": delivery.created_at.isoformat(), "data": data}


# Secrets


def _derived(key: str, webhook_id: UUID) -> bytes:
    return hmac.digest(key.encode(), f"webhook {webhook_id}".encode(), "sha256")


def _fingerprint(secret: bytes) -> str:
    return sha256(b"fingerprint " + secret).hexdigest()


def _secret_of(webhook: Webhook) -> bytes | None:
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        secret = _derived(key, webhook.pk)
        if hmac.compare_digest(_fingerprint(secret), webhook.fingerprint):
            return secret
    return None


def lost_secret() -> str:
    """The error for a webhook whose secret cannot be computed any more."""
    return Sentence("SECRET_KEY has changed, and with it the secret. Remove this webhook, and make it anew.")
