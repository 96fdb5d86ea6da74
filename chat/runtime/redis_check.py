"""Checks once, before a process serves or executes runs, whether the channel layer's Redis and the broker's can be used.

One that does not answer may come back at any time, so the process starts. One that refuses this process, or lacks a command that is
needed, will keep doing so: then the process does not start, and the server's reason is logged.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from channels_redis.utils import create_pool, decode_hosts
from django.conf import settings
from kombu import Connection
from kombu.exceptions import KombuError
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

logger = logging.getLogger(__name__)

_PATIENCE_S = 5.0
#: A channel named as the layer names its own (prefix and all): access lists allow them by pattern.
_CHANNEL = "asgi__group__thinkaloud.check"
#: Tried twice, without a pause.
_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: Refusals for which Redis has no error class.
_FOR_GOOD = ("db index", "invalid db", "wrongpass", "noauth", "noperm", "unknown command")


#: The exceptions of an attempt when a Redis does not answer or refuses.
AWAY = (RedisError, KombuError, OSError)
Attempt = Callable[[], None]


class RedisRefused(Exception):
    """A Redis answers and cannot be used. The message is for people."""


def check_redis() -> None:
    """Raise `RedisRefused` if a configured Redis answers and cannot be used."""
    parts: list[tuple[str, Any, Attempt]] = [
        ("REDIS_URL", settings.REDIS_URL, try_channel_layer),
        ("BROKER_URL", settings.BROKER_URL, try_broker),
    ]
    for name, address, attempt in parts:
        if not address:
            continue
        try:
            attempt()
        except AWAY as error:
            reason = lasting_reason(error)
            if reason is not None:
                raise RedisRefused(f"The Redis of {name} cannot be used: {reason}") from None
            logger.warning("The Redis of %s does not answer; going on, and trying until it does: %s", name, error)


def try_channel_layer() -> None:
    """Publish and listen as the channel layer does; raises one of `AWAY`."""
    asyncio.run(asyncio.wait_for(_publish_and_receive(), _PATIENCE_S))


async def _publish_and_receive() -> None:
    layer: Any = settings.CHANNEL_LAYERS["default"]
    (host,) = decode_hosts(layer["CONFIG"]["hosts"])
    async with Redis(connection_pool=create_pool(host)) as client, client.pubsub() as listener:
        await listener.subscribe(_CHANNEL)
        await listener.get_message(timeout=_PATIENCE_S)
        await client.publish(_CHANNEL, "")
        await client.connection_pool.disconnect()


def try_broker() -> None:
    """Read the broker's queue as its client does; raises one of `AWAY`."""
    options = {**settings.CELERY_BROKER_TRANSPORT_OPTIONS, "socket_timeout": _PATIENCE_S, **_ONCE_MORE}
    with Connection(
        settings.CELERY_BROKER_URL, ssl=settings.CELERY_BROKER_USE_SSL or False, transport_options=options
    ) as connection:
        queue = settings.CELERY_TASK_DEFAULT_QUEUE
        channel: Any = connection.default_channel
        client = channel.client
        client.llen(queue)
        client.smembers(f"_kombu.binding.{queue}")


def lasting_reason(error: BaseException) -> str | None:
    """The server's reason if trying again would not help; else None."""
    for cause in _causes(error):
        text = " ".join(str(cause).split())
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({cause.verify_message})."
        if isinstance(cause, (AuthenticationError, NoPermissionError)):
            return f"{text}."
        if isinstance(cause, ResponseError) and text.lower().startswith(_FOR_GOOD):
            return f"{text}."
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
