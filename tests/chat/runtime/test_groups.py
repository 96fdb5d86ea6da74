"""What is logged where the channel layer goes on failing: the reason, and not with each call."""

from types import SimpleNamespace
from typing import Any

import pytest

from chat.runtime import groups


class FailingLayer:
    """Fails with these words; with none, it takes the message."""

    def __init__(self) -> None:
        self.words = "Error 111 connecting to redis"

    async def group_send(self, _group: str, _message: groups.Message) -> None:
        if self.words:
            raise ConnectionError(self.words)


async def test_a_failure_that_goes_on_is_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer, clock = FailingLayer(), SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(groups, "get_channel_layer", lambda: layer)
    monkeypatch.setattr(groups, "time", SimpleNamespace(monotonic=lambda: clock.now))

    async def publish_for(seconds: int) -> list[str]:
        """What is logged while a message is published every second."""
        caplog.clear()
        for _ in range(seconds):
            clock.now += 1
            await groups.publish("session.a", {"type": "woken"})
        return caplog.messages

    failed = "The channel layer failed at publishing to session.a"
    assert await publish_for(55) == [failed]
    assert _reasons(caplog) == ["Error 111 connecting to redis"]
    assert await publish_for(120) == [failed, failed]
    layer.words = "invalid password"
    assert await publish_for(30) == [failed], "another reason is told at once"
    assert _reasons(caplog) == ["invalid password"]
    layer.words = ""
    (answers,) = await publish_for(30)
    assert answers.startswith("The channel layer answers again")
    layer.words = "invalid password"
    assert await publish_for(30) == [failed]


def _reasons(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The reasons that are in the log."""
    return [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
