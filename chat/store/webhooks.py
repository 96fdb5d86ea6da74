"""Webhooks: made and removed by their owner; their deliveries, stored in the transaction of what they are about and kept until sent.

The end of a run costs one query where webhooks are allowed: deliveries are sent later, by a task of their own.
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

#: Webhooks of one account.
MOST_WEBHOOKS = 10
RUN_ENDED, RUN_WAITING, PING = "run.ended", "run.waiting", "ping"
#: Pauses before another attempt; after the last one the delivery is given up.
RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (0.25, 1, 5, 30, 120, 360, 720, 1440))
#: A webhook that has received nothing for so long, although it was tried, is given up.
GIVEN_UP_AFTER = timedelta(days=3)
#: A process holds a delivery that it has claimed for so long: longer than any attempt takes.
_LEASE = timedelta(seconds=60)
_KEPT_FOR = timedelta(days=30)
#: Deliveries that are removed at a time.
_SWEPT = 500


class TooManyWebhooks(Exception):
    """The account has as many webhooks as one may have."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A delivery to be attempted now: address, identifier, body, and the secret that signs it; None: the secret is lost."""

    delivery_id: UUID
    webhook_id: UUID
    url: str
    body: bytes
    secret: bytes | None

    def headers(self, now: float) -> dict[str, str]:
        """The request's headers, as the Standard Webhooks specification has them."""
        stamp = str(int(now))
        signed = f"{self.delivery_id}.{stamp}.".encode() + self.body
        signature = base64.b64encode(hmac.digest(self.secret or b"", signed, "sha256")).decode()
        return {
            "Content-Type": "application/json",
            "webhook-id": str(self.delivery_id),
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature}",
        }


# Made and removed


@transaction.atomic
def make_webhook(user: User, url: str) -> tuple[Webhook, str]:
    """Make a webhook; returns its row and its secret, which is nowhere else. Raises `TooManyWebhooks`."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if Webhook.objects.filter(owner=user).count() >= MOST_WEBHOOKS:
        raise TooManyWebhooks
    made = Webhook(owner=user, url=url)
    secret = _derived(settings.SECRET_KEY, made.pk)
    made.fingerprint = _fingerprint(secret)
    made.save(force_insert=True)
    return made, f"whsec_{base64.b64encode(secret).decode()}"


def remove_webhook(user_id: int, webhook_id: UUID) -> bool:
    """Remove one of an account's webhooks with its pending deliveries; False where there is none of that identifier."""
    return bool(Webhook.objects.filter(owner=user_id, pk=webhook_id).delete()[0])


def revive_webhook(user_id: int, webhook_id: UUID) -> bool:
    """Enable a webhook that was given up, and retry it; False where there is none of that identifier."""
    own = Webhook.objects.filter(owner=user_id, pk=webhook_id)
    if not own.update(disabled_at=None, failing_since=None):
        return False
    WebhookDelivery.objects.create(webhook_id=webhook_id, event=PING)
    return True


def webhooks_of(user_id: int) -> list[Webhook]:
    """An account's webhooks, the first one first."""
    return list(Webhook.objects.filter(owner=user_id))


def retry_delivery(user_id: int, delivery_id: UUID) -> bool:
    """Retry a delivery now, given up or not; False where there is none such, or it was received."""
    own = WebhookDelivery.objects.filter(webhook__owner=user_id, pk=delivery_id).exclude(state=DeliveryState.DELIVERED)
    held = own.filter(webhook__disabled_at=None)
    return bool(held.update(state=DeliveryState.WAITING, next_at=timezone.now(), attempts=0, settled_at=None))


def latest_deliveries(webhook_id: UUID, most: int = 20) -> list[WebhookDelivery]:
    """The latest deliveries of a webhook, sent or pending."""
    return list(WebhookDelivery.objects.filter(webhook=webhook_id)[:most])


def record_end(run_id: UUID) -> None:
    """Have the webhooks of a session's owner told that a run has ended, in the transaction in which it does. Not of those within others
    or of sets.
    """  # noqa: D205 - one thought
    _note(run_id, RUN_ENDED)


def record_waiting(run_id: UUID) -> None:
    """Queue deliveries about a run that waits for people, likewise."""
    _note(run_id, RUN_WAITING)


def _note(run_id: UUID, event: str) -> None:
    if not settings.WEBHOOKS:
        return
    whose = "owner__sessions"
    runs = {f"{whose}__runs": run_id, f"{whose}__runs__parent": None, f"{whose}__for_set": None}
    told = Webhook.objects.filter(disabled_at=None, **runs).values_list("pk", flat=True)
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(webhook_id=webhook_id, event=event, run_id=run_id) for webhook_id in told
    )


# Delivered


def is_any_due() -> bool:
    """Whether a delivery is due."""
    due = WebhookDelivery.objects.filter(state=DeliveryState.WAITING, next_at__lte=timezone.now())
    return due.filter(webhook__disabled_at=None).exists()


@transaction.atomic
def take_due(most: int, busy: Collection[UUID]) -> list[Attempt]:
    """Claim the due deliveries, one for each webhook that is not busy: no other process has them for a while."""
    now = timezone.now()
    due = WebhookDelivery.objects.select_for_update(skip_locked=True, of=("self",)).select_related("webhook")
    due = due.filter(state=DeliveryState.WAITING, next_at__lte=now, webhook__disabled_at=None)
    found: dict[UUID, WebhookDelivery] = {}
    for delivery in due.exclude(webhook__in=busy).filter(webhook__owner__is_active=True).order_by("next_at")[:200]:
        found.setdefault(delivery.webhook_id, delivery)
    taken = list(found.values())[:most]
    WebhookDelivery.objects.filter(pk__in=[each.pk for each in taken]).update(
        next_at=now + _LEASE, attempts=F("attempts") + 1
    )
    runs = Run.objects.select_related("session").in_bulk([each.run_id for each in taken if each.run_id])
    return [
        Attempt(
            each.pk,
            each.webhook_id,
            each.webhook.url,
            orjson.dumps(_told(each, runs.get(each.run_id) if each.run_id else None)),
            _secret_of(each.webhook),
        )
        for each in taken
    ]


@transaction.atomic
def settle(attempt: Attempt, status: int | None, error: str) -> None:
    """Store the result of an attempt: received, or to be retried later, or given up, and perhaps the webhook with it."""
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
    """Delete some of the deliveries that are older than they are kept."""
    old = WebhookDelivery.objects.filter(created_at__lt=timezone.now() - _KEPT_FOR).order_by()
    WebhookDelivery.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:_SWEPT])).delete()


class WebhookData(TypedDict, total=False):
    """Which run it is about: nothing for a trial, and only the run's identifier where it is gone."""

    run_id: str
    session_id: str
    status: str
    title: str
    """The session's."""
    url: str


class WebhookBody(TypedDict):
    """What a webhook is sent."""

    type: str
    timestamp: str
    """When it happened, in ISO 8601."""
    data: WebhookData


def _told(delivery: WebhookDelivery, run: Run | None) -> WebhookBody:
    """The body of a delivery: identifiers, the title and a link; nothing of questions and answers."""
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
    """The message about a webhook whose secret cannot be computed any more."""
    return Sentence("SECRET_KEY has changed, and with it the secret. Remove this webhook, and make it anew.")
