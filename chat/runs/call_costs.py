"""The cost of a run's model calls, and their metrics."""

from datetime import UTC, datetime, timedelta

from agents import CallEnded
from chat.catalog import prices
from chat.models import Cost
from chat.runtime import metrics
from chat.store.calls import CallWriter


class CallPricing:
    """Computes the cost of a run's model calls. A class of its own, so that the run's meter does not keep the recorder in memory."""

    def __init__(self, writer: CallWriter) -> None:
        self.server = self.model = ""
        self._writer = writer

    def cost_of(self, call: CallEnded) -> Cost | None:
        """The cost of a call if it is known."""
        if not call.usage.input_tokens + call.usage.output_tokens:
            return None
        asked_at = datetime.now(UTC) - timedelta(milliseconds=call.duration_ms)
        provider = self._writer.provider
        return prices.cost_of(call.usage, model=self.model, provider=provider, server=self.server, asked_at=asked_at)


def count_call(agent_name: str, provider: str, call: CallEnded, cost: Cost | None) -> None:
    """Count an ended model call in the metrics. A call that was stopped here does not count as an error of the server."""
    agent, server = metrics.agents.of(agent_name), metrics.servers.of(provider)
    metrics.model_calls.labels(server).inc()
    metrics.model_call_seconds.labels(server).observe(call.duration_ms / 1000)
    if call.first_token_ms is not None:
        metrics.model_first_token_seconds.labels(server).observe(call.first_token_ms / 1000)
    if call.error and call.error != "stopped":
        metrics.model_errors.labels(server).inc()
    metrics.input_tokens.labels(agent, server).inc(call.usage.input_tokens)
    metrics.output_tokens.labels(agent, server).inc(call.usage.output_tokens)
    if cost is not None:
        metrics.cost.labels(agent, server, metrics.currencies.of(cost.currency)).inc(float(cost.amount))
