"""All feeds and subscribers of this process: joined, left, checked once a second, closed together. Use it on the event loop."""

import asyncio
import logging
import time
from uuid import UUID

from chat.access import Role
from chat.live.feed import Feed
from chat.live.handshake import Login, current_roles, expired_logins
from chat.live.subscriber import End, Send, SendNow, Subscriber
from chat.protocol import Close
from chat.runtime import background, database
from chat.store import reconcile, selectors

logger = logging.getLogger(__name__)


POLL_S = 1.0
#: How many feeds one query compares with the database: its time must not grow with the number of feeds.
_LOOKED_AT_ONCE = 200


open_feeds: dict[UUID, Feed] = {}
#: Every subscriber of this process, including those of a closed feed, which nobody can join any more.
open_sockets: dict[Subscriber, None] = {}


async def join_feed(
    session_id: UUID,
    login: Login,
    send: Send,
    end: End,
    *,
    acknowledges: bool = True,
    send_now: SendNow | None = None,
) -> tuple[Subscriber, selectors.SessionView | None]:
    """Subscribe to a session's feed. The first subscriber opens it, and also gets the session's data that were read for that."""
    feed = open_feeds.get(session_id)
    is_first = feed is None
    if feed is None:
        feed = open_feeds[session_id] = Feed(session_id, drop_feed)
    subscriber = Subscriber(feed, login, send, end, acknowledges=acknowledges, send_now=send_now)
    feed.add(subscriber)
    open_sockets[subscriber] = None
    try:
        await asyncio.shield(feed.ready)
    except BaseException:
        open_sockets.pop(subscriber, None)
        feed.remove(subscriber)
        if not feed.subscribers:
            drop_feed(feed)
        raise
    view, feed.view = feed.view, None
    return subscriber, view if is_first else None


async def leave_feed(subscriber: Subscriber) -> None:
    """Remove a subscriber; the last one closes the feed."""
    open_sockets.pop(subscriber, None)
    subscriber.detach()
    feed = open_feeds.get(subscriber.feed.session_id)
    if feed is not None and feed is subscriber.feed and not feed.subscribers:
        del open_feeds[feed.session_id]
        await feed.close()


def drop_feed(feed: Feed) -> None:
    """Close a feed; the next subscriber opens a new one."""
    if open_feeds.get(feed.session_id) is feed:
        del open_feeds[feed.session_id]
        background.spawn(feed.close(), "close feed")


def all_subscribers() -> list[Subscriber]:
    """Every subscriber of this process."""
    return list(open_sockets)


def send_to_everyone(frame: str) -> None:
    """Send a frame to every socket of this process."""
    for subscriber in all_subscribers():
        subscriber.send_control(frame)


def send_to_user(user_id: int, frame: str) -> None:
    """Send a frame to every socket that a user has in this process."""
    for subscriber in all_subscribers():
        if subscriber.login.user.pk == user_id:
            subscriber.send_control(frame)


async def poll_forever() -> None:
    """Once a second check every socket and compare every feed with the log; a slow comparison delays no check."""
    comparing: asyncio.Task[None] | None = None
    while True:
        await asyncio.sleep(POLL_S)
        _check_sockets()
        if comparing is None or comparing.done():
            comparing = background.spawn(_reconcile_all(), "compare feeds")


async def poll_once() -> None:
    """Check every socket and compare every feed with the log, once."""
    _check_sockets()
    await _reconcile_all()


def _check_sockets() -> None:
    """Close sockets that are silent or do not read; have those that are behind send what is missing."""
    now = time.monotonic()
    for subscriber in all_subscribers():
        code = subscriber.overdue(now)
        if code is not None:
            subscriber.request_close(code)
        elif subscriber.is_behind:
            subscriber.schedule_flush()


async def _reconcile_all() -> None:
    """Compare logins and feeds with the database; a failure for some of them does not stop the others."""
    try:
        await check_logins()
    except Exception:
        logger.exception("Open sockets' logins could not be checked in the database")
    waiting = [feed for feed in open_feeds.values() if feed.is_open]
    for start in range(0, len(waiting), _LOOKED_AT_ONCE):
        try:
            await _reconcile_feeds(waiting[start : start + _LOOKED_AT_ONCE])
        except Exception:
            logger.exception("Open feeds could not be compared with the stored events")


async def _reconcile_feeds(feeds: list[Feed]) -> None:
    known = [feed.head for feed in feeds]
    fingerprints = await database.read(reconcile.fingerprints_of, [feed.session_id for feed in feeds])
    now, handed_over, unheard = time.monotonic(), list[Subscriber](), dict[UUID, Feed]()
    for feed, head, fingerprint in zip(feeds, known, fingerprints, strict=True):
        if fingerprint is not None and feed.is_as_before(fingerprint):
            continue
        if open_feeds.get(feed.session_id) is feed:
            handed_over += _compare_feed(feed, head, fingerprint)
            if feed.misses_growth(now):
                unheard[feed.session_id] = feed
    await _notify_roles(handed_over)
    if unheard:
        for session_id, draft in await database.read(reconcile.saved_drafts, list(unheard)):
            unheard[session_id].show_draft(draft)


def _compare_feed(feed: Feed, head: int, fingerprint: reconcile.SessionFingerprint | None) -> list[Subscriber]:
    """Compare a feed with what is stored; ``head`` is its number before that was read. Returns sockets of former owners."""
    if fingerprint is None:
        for subscriber in list(feed.subscribers):
            subscriber.request_close(Close.NO_SUCH_SESSION)
        return []
    former = [each for each in feed.subscribers if _owned_before(each, fingerprint.owner_id)]
    if fingerprint.head < head:
        feed.invalidate()
    else:
        feed.reconcile(fingerprint)
    if former:
        feed.is_settled = False  # until they were notified
    return former


async def check_logins() -> None:
    """Close the sockets whose login has ended (logged out, deactivated, deleted, password changed) or whose right was withdrawn.

    Clients whose role has changed are notified. A change of owner is found by the feed's comparison instead.
    """
    subscribed = all_subscribers()
    if not subscribed:
        return
    others = [
        each
        for each in subscribed
        if each.subscription is not None and each.subscription.open_socket.role is not Role.OWNER
    ]
    places = [(each.feed.session_id, each.login) for each in others]
    ended, roles = await database.read(
        lambda: (expired_logins(each.login for each in subscribed), current_roles(places))
    )
    for subscriber in subscribed:
        if subscriber.login.key in ended:
            subscriber.request_close(Close.NOT_LOGGED_IN)
    await _change_roles(others, roles)


def _owned_before(subscriber: Subscriber, owner_id: int) -> bool:
    """Whether a socket is that of a user who is no longer the session's owner."""
    subscription = subscriber.subscription
    return (
        subscription is not None
        and subscription.open_socket.role is Role.OWNER
        and owner_id != subscriber.login.user.pk
    )


async def _notify_roles(subscribers: list[Subscriber]) -> None:
    if subscribers:
        places = [(each.feed.session_id, each.login) for each in subscribers]
        await _change_roles(subscribers, await database.read(current_roles, places))


async def _change_roles(subscribers: list[Subscriber], roles: list[Role | int]) -> None:
    """Notify clients whose role has changed, and close the sockets of users who have none any more."""
    for subscriber, role in zip(subscribers, roles, strict=True):
        subscription = subscriber.subscription
        if subscription is None or subscriber not in open_sockets or role is subscription.open_socket.role:
            continue
        # When staff open a session, that is recorded in the audit log before they see it: so they have to connect again.
        if role is Role.STAFF:
            subscriber.request_close(Close.WITHDRAWN)
        elif isinstance(role, int):
            subscriber.request_close(role)
        else:
            await subscription.change_role(role)


async def close_all(code: int, timeout_s: float) -> None:
    """Close every socket of this process. Waits at most ``timeout_s`` seconds for each to be sent what is pending."""
    closing = all_subscribers()
    for subscriber in closing:
        subscriber.request_close(code)
    flushing = [task for subscriber in closing if (task := subscriber.flushing) is not None]
    if flushing:
        await asyncio.wait(flushing, timeout=timeout_s)


def feed_stats() -> dict[str, int]:
    """How many feeds and subscribers this process has."""
    return {"feeds": len(open_feeds), "sockets": len(all_subscribers())}
