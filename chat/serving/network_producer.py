"""Twisted's backpressure as something that can be awaited."""

import asyncio


class NetworkProducer:
    """Twisted's push producer: knows whether the network has taken what it was given."""

    _drained: asyncio.Future[None] | None = None

    def pauseProducing(self) -> None:  # noqa: N802
        """The network takes no more."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:  # noqa: N802
        """The network has taken everything."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is gone already."""

    @property
    def is_held_up(self) -> bool:
        """Whether the network has still to take some of what it was given."""
        return self._drained is not None

    async def taken(self) -> None:
        """Wait until the network has taken what it was given."""
        while self._drained is not None:
            await asyncio.shield(self._drained)
