"""Twisted's backpressure as an awaitable."""

import asyncio

#: The server's extension of ASGI for sockets, a key of the scope's ``extensions``: `chat.serving.daphne.DaphneSocket.send_now`.
SEND_NOW = "thinkaloud.send_now"


class NetworkProducer:
    """Twisted's push producer: knows whether the network has taken the data that it was given."""

    _drained: asyncio.Future[None] | None = None

    def pauseProducing(self) -> None:  # noqa: N802
        """The network takes no more data."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:  # noqa: N802
        """The network has taken all data."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is already closed."""

    @property
    def is_held_up(self) -> bool:
        """Whether the network has not yet taken all data."""
        return self._drained is not None

    async def wait_drained(self) -> None:
        """Wait until the network has taken all data."""
        while self._drained is not None:
            await asyncio.shield(self._drained)
