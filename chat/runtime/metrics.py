"""The metrics of this process, in Prometheus's format: what has happened since it started.

Labels come from closed lists alone: how a run ended, its agent, the model server, a currency. Counting is an addition in memory,
thread-safe. Current values, of this process and the whole installation, are in `chat.serving.gauges`.
"""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_MOST_LABELS = 100
OTHER = "other"
_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_FIRST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_LONG_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class LabelList:
    """A closed list of a label's values: the first so many that occur; all further ones are "other"."""

    def __init__(self, most: int = _MOST_LABELS) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The label's value for a name."""
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name


agents = LabelList()
servers = LabelList()
currencies = LabelList(20)


def _counter(name: str, description: str, labels: Sequence[str] = ()) -> Counter:
    return Counter(f"thinkaloud_{name}", description, labels, registry=REGISTRY)


def _histogram(name: str, description: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
    return Histogram(f"thinkaloud_{name}", description, labels, registry=REGISTRY, buckets=buckets)


runs_ended = _counter("runs", "Runs that ended, those within runs too.", ("end", "agent"))
run_seconds = _histogram("run_seconds", "From the start of a run to its end.", _LONG_S, ("end",))
first_token_seconds = _histogram("first_token_seconds", "From the start of a run to its first words.", _FIRST_S)
stop_seconds = _histogram("stop_seconds", "From the command to stop a run to its stored end.", _QUICK_S)
step_delay_seconds = _histogram("step_delay_seconds", "From a step's commit to its sending to a client.", _QUICK_S)
healed_messages = _counter(
    "healed_group_messages", "Times that the log had what no message of the channel layer had told of yet."
)

model_calls = _counter("model_calls", "Requests to models that ended.", ("model_server",))
model_errors = _counter("model_errors", "Requests to models that failed.", ("model_server",))
model_call_seconds = _histogram("model_call_seconds", "How long requests to models took.", _LONG_S, ("model_server",))
model_first_token_seconds = _histogram(
    "model_first_token_seconds", "From a request to a model to its first token.", _FIRST_S, ("model_server",)
)
input_tokens = _counter("input_tokens", "Tokens that models read.", ("agent", "model_server"))
output_tokens = _counter("output_tokens", "Tokens that models wrote.", ("agent", "model_server"))
cost = _counter("cost", "What tokens cost, as far as that is known.", ("agent", "model_server", "currency"))

read_wait_seconds = _histogram(
    "database_read_wait_seconds", "How long calls waited for a thread that reads from the database.", _QUICK_S
)
write_wait_seconds = _histogram(
    "database_write_wait_seconds", "How long calls waited for a thread that writes to the database.", _QUICK_S
)
database_retries = _counter("database_retries", "Times that a run asked a database again that was away.")


def render_figures(accept: str) -> tuple[bytes, str]:
    """All metrics in the format that the ``Accept`` header asks for, and its content type. Slow: not for the event loop."""
    encoder, content_type = choose_encoder(accept)
    return encoder(REGISTRY), content_type
