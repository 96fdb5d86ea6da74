"""Sends spans to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names, by OTLP over HTTP."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import requests
from django.conf import settings
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.util.re import parse_env_headers

_PATIENCE_S = 10.0
#: Answers that say that these spans are not taken, now or later.
_REFUSALS = (400, 413, 415, 422)


class Sent(Enum):
    """What came of it."""

    TAKEN = "taken"
    REFUSED = "refused"
    """The collector does not want these spans."""
    AWAY = "away"
    """It does not answer, or not well: later it may."""


class Sender:
    """A collector. To be used from one thread."""

    def __init__(self) -> None:
        self._status = 0
        session = requests.Session()
        session.hooks["response"].append(self._note_status)
        session.max_redirects = 0
        self._exporter = OTLPSpanExporter(
            endpoint=f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces",
            headers=parse_env_headers(settings.OTEL_EXPORTER_OTLP_HEADERS, liberal=True),
            timeout=_PATIENCE_S,
            session=session,
        )

    def send(self, spans: Sequence[ReadableSpan]) -> Sent:
        """Send spans; blocks for up to ten seconds."""
        self._status = 0
        taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
        if taken and self._status < 300:  # to the library, one that leads elsewhere has taken them
            return Sent.TAKEN
        return Sent.REFUSED if self._status in _REFUSALS else Sent.AWAY

    def close(self) -> None:
        """Wait for nothing any more; from any thread."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    @property
    def why(self) -> str:
        """What the collector answered last, for people."""
        return f"it answers {self._status}" if self._status else "it does not answer"

    def _note_status(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._status = response.status_code
