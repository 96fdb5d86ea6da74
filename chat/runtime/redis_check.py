"""Whether the Redis of the channel layer, and that of the broker, will do: asked once, before a process serves or executes runs.

One that is away is waited for, because it may be back at any time. One that refuses this process, or lacks what is asked of it, will go on
doing so: then the start is refused, with the server's reason.
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
#: A channel of the layer's kind (its prefix and what it puts before a group's name): access lists name them by pattern.
_CHANNEL = "asgi__group__thinkaloud.check"
#: Asked twice, without a pause.
_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: Words of a refusal that Redis gives no kind of its own.
_FOR_GOOD = ("db index", "invalid db", "wrongpass", "noauth", "noperm", "unknown command")


#: What a Redis that is away or refuses makes of an attempt.
AWAY = (RedisError, KombuError, OSError)
Attempt = Callable[[], None]


class RedisRefused(Exception):
    """A Redis answers and will not do; the text is for people."""


def check_redis() -> None:
    """Raise `RedisRefused` where a Redis that the settings name answers and cannot be used."""
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
    asyncio.run(asyncio.wait_for(_publish_and_hear(), _PATIENCE_S))


async def _publish_and_hear() -> None:
    layer: Any = settings.CHANNEL_LAYERS["default"]
    (host,) = decode_hosts(layer["CONFIG"]["hosts"])
    async with Redis(connection_pool=create_pool(host)) as client, client.pubsub() as listener:
        await listener.subscribe(_CHANNEL)
        await listener.get_message(timeout=_PATIENCE_S)
        await client.publish(_CHANNEL, "")
        await client.connection_pool.disconnect()


def try_broker() -> None:
    """Look into the broker's queue as its client does; raises one of `AWAY`."""
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
    """The server's reason where asking again would not help; None where it may."""
    for cause in _causes(error):
        words = " ".join(str(cause).split())
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({cause.verify_message})."
        if isinstance(cause, (AuthenticationError, NoPermissionError)):
            return f"{words}."
        if isinstance(cause, ResponseError) and words.lower().startswith(_FOR_GOOD):
            return f"{words}."
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
