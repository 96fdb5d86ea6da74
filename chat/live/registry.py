"""Every feed and every socket of this process: joined, left, looked after once a second, closed together."""

import asyncio
import logging
import time
from typing import Any
from uuid import UUID

from chat.access import Role
from chat.live.feed import Feed
from chat.live.handshake import Login, current_roles, expired_logins
from chat.live.subscriber import End, Send, Subscriber
from chat.protocol import Close
from chat.runtime import background, database
from chat.store import reconcile, selectors

logger = logging.getLogger(__name__)


POLL_S = 1.0
#: Feeds that are compared with the database at a time: what that takes is not to grow with their number.
_LOOKED_AT_ONCE = 200


open_feeds: dict[UUID, Feed] = {}
#: Every socket of this process, also of a feed that nobody can join any more.
open_sockets: dict[Subscriber, None] = {}


async def join_feed(
    session_id: UUID, login: Login, send: Send, end: End, *, acknowledges: bool = True
) -> tuple[Subscriber, selectors.SessionView | None]:
    """Give a client its place in the session's feed. It is opened for the first one, which is given what was read for that."""
    feed = open_feeds.get(session_id)
    is_first = feed is None
    if feed is None:
        feed = open_feeds[session_id] = Feed(session_id, drop_feed)
    subscriber = Subscriber(feed, login, send, end, acknowledges=acknowledges)
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
    """Take a socket out; the last one closes the feed."""
    open_sockets.pop(subscriber, None)
    subscriber.detach()
    feed = subscriber.feed
    if not feed.subscribers and open_feeds.get(feed.session_id) is feed:
        del open_feeds[feed.session_id]
        await feed.close()


def drop_feed(feed: Feed) -> None:
    """Let whoever comes next open the session's feed anew."""
    if open_feeds.get(feed.session_id) is feed:
        del open_feeds[feed.session_id]
        background.spawn(feed.close(), "close feed")


def all_subscribers() -> list[Subscriber]:
    """Every socket of this process."""
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
    """Once a second see to every socket, and compare every feed with the log; a comparison that takes long keeps no socket waiting."""
    comparing: asyncio.Task[None] | None = None
    while True:
        await asyncio.sleep(POLL_S)
        _check_sockets()
        if comparing is None or comparing.done():
            comparing = background.spawn(_reconcile_all(), "compare feeds")


async def poll_once() -> None:
    """See to every socket, and compare every feed with the log, once."""
    _check_sockets()
    await _reconcile_all()


def _check_sockets() -> None:
    """Close the sockets that are silent or read nothing; whoever is behind is sent what is there."""
    now = time.monotonic()
    for subscriber in all_subscribers():
        code = subscriber.overdue(now)
        if code is not None:
            subscriber.request_close(code)
        elif subscriber.is_behind:
            subscriber.schedule_flush()


async def _reconcile_all() -> None:
    """Compare logins and feeds with what is stored. One that cannot be compared keeps none of the others from it."""
    try:
        await check_logins()
    except Exception:
        logger.exception("The logins could not be compared with those stored")
    waiting = [feed for feed in open_feeds.values() if feed.is_open]
    for start in range(0, len(waiting), _LOOKED_AT_ONCE):
        try:
            await _reconcile_feeds(waiting[start : start + _LOOKED_AT_ONCE])
        except Exception:
            logger.exception("The feeds could not be compared with the log")


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
    await _tell_roles(handed_over)
    if unheard:
        for session_id, draft in await database.read(reconcile.saved_drafts, list(unheard)):
            unheard[session_id].take_draft(draft)


def _compare_feed(feed: Feed, head: int, fingerprint: reconcile.SessionFingerprint | None) -> list[Subscriber]:
    """Have a feed take up what is stored; ``head`` is where it was before that was read. Returns sockets of former owners."""
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
        feed.is_settled = False  # till they have been told
    return former


async def check_logins() -> None:
    """Close the sockets whose login has ended (logged out, deactivated, deleted, password changed) or whose right was withdrawn.

    Whoever has another right than before is told. Of an owner's, who can hand the session over, the feed's comparison knows.
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
    """Whether a socket is its session's owner's, who is that no more."""
    subscription = subscriber.subscription
    return (
        subscription is not None
        and subscription.open_socket.role is Role.OWNER
        and owner_id != subscriber.login.user.pk
    )


async def _tell_roles(subscribers: list[Subscriber]) -> None:
    if subscribers:
        places = [(each.feed.session_id, each.login) for each in subscribers]
        await _change_roles(subscribers, await database.read(current_roles, places))


async def _change_roles(subscribers: list[Subscriber], roles: list[Role | int]) -> None:
    """Tell whoever has another right than before, and close the sockets of who has none."""
    for subscriber, role in zip(subscribers, roles, strict=True):
        subscription = subscriber.subscription
        if subscription is None or subscriber not in open_sockets or role is subscription.open_socket.role:
            continue
        # What staff look at is noted before they see it: they come in anew.
        if role is Role.STAFF:
            subscriber.request_close(Close.WITHDRAWN)
        elif isinstance(role, int):
            subscriber.request_close(role)
        else:
            await subscription.change_role(role)


async def close_all(code: int, timeout_s: float) -> None:
    """Close every socket of this process, and wait until each has been told what was left to tell."""
    closing = all_subscribers()
    for subscriber in closing:
        subscriber.request_close(code)
    flushing = [task for subscriber in closing if (task := subscriber.flushing) is not None]
    if flushing:
        await asyncio.wait(flushing, timeout=timeout_s)


def feed_stats() -> dict[str, Any]:
    """How many sessions are looked at here, and by how many sockets."""
    return {"feeds": len(open_feeds), "sockets": len(all_subscribers())}
