"""Workers are notified through the broker, and no request waits for a broker that is down."""

import json
import signal
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis
from celery import Celery

from chat.runtime import broker as runtime_broker
from chat.runtime.broker import TASK, WorkerNotifier
from config.celery import app
from tests import services
from tests.services import Redis

QUEUE = "thinkaloud"


@pytest.fixture
def broker() -> Iterator[Redis]:
    """A broker of the test's own."""
    with services.own_redis() as server:
        yield server


@pytest.fixture
def notifier(broker: Redis, monkeypatch: pytest.MonkeyPatch) -> WorkerNotifier:
    """A notifier that uses it."""
    own = Celery("test", broker=broker.url, set_as_current=False)
    own.conf.task_default_queue = app.conf.task_default_queue
    own.conf.broker_transport_options = app.conf.broker_transport_options
    monkeypatch.setattr(runtime_broker, "import_string", lambda _: own)
    return WorkerNotifier()


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def rung(broker: Redis) -> list[str]:
    """The sessions of which workers were notified, in order."""
    with redis.Redis.from_url(broker.url) as client:
        messages = [json.loads(raw) for raw in client.lrange(QUEUE, 0, -1)]
    assert {message["headers"]["task"] for message in messages} <= {TASK}
    arguments = [json.loads(message["headers"]["kwargsrepr"].replace("'", '"')) for message in reversed(messages)]
    assert {name for each in arguments for name in each} <= {"session_id"}
    return [each["session_id"] for each in arguments]


def test_workers_are_notified_of_sessions_in_order(notifier: WorkerNotifier, broker: Redis) -> None:
    sessions = [uuid.uuid4() for _ in range(5)]
    for session in sessions:
        notifier.notify(session)
    until(lambda: len(rung(broker)) == 5)
    assert rung(broker) == [str(session) for session in sessions]
    assert notifier.away_since is None


def test_a_broker_that_is_away_keeps_nobody_waiting_and_is_told_of_once(
    notifier: WorkerNotifier, broker: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    notifier.notify(uuid.uuid4())
    until(lambda: rung(broker))
    broker.end(signal.SIGKILL)
    began = time.monotonic()
    late = [uuid.uuid4() for _ in range(100)]
    for session in late:
        notifier.notify(session)
    assert time.monotonic() - began < 1
    until(lambda: notifier.away_since is not None)
    broker.start()
    until(lambda: notifier.away_since is None)
    until(lambda: rung(broker))
    last = uuid.uuid4()
    notifier.notify(last)
    until(lambda: rung(broker)[-1] == str(last))
    words = [record.getMessage() for record in caplog.records]
    assert sum("does not answer" in each for each in words) == 1
    assert sum("answers again" in each for each in words) == 1
