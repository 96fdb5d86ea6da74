"""Sends spans to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names, by OTLP over HTTP."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import requests
from django.conf import settings
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from opentelemetry.sdk.resources import OTELResourceDetector
from opentelemetry.util.re import parse_env_headers

from chat.traces.spans import put_attributes

_PATIENCE_S = 10.0
#: Statuses by which the collector rejects the spans for good.
_REFUSALS = (400, 413, 415, 422)
_SCOPE = InstrumentationScope(name="thinkaloud")


class _Exporter(OTLPSpanExporter):
    """The library's exporter, for spans that are protobuf messages already: converting its own span objects doubles the CPU time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
        attributes = {"service.name": "thinkaloud", **OTELResourceDetector().detect().attributes}
        self._resource = Resource()
        put_attributes(self._resource.attributes, attributes)

    def send(self, spans: Sequence[Span]) -> bool:
        """Send spans; returns whether the collector accepted them."""
        scope_spans = [ScopeSpans(scope=_SCOPE, spans=spans)]
        request = ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=self._resource, scope_spans=scope_spans)]
        )
        return self._client.export(request.SerializeToString()).success


class Sent(Enum):
    """The outcome of a request."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The collector rejects these spans; retrying is pointless."""
    AWAY = "away"
    """It does not answer, or with a temporary error: to be retried later."""


class Sender:
    """The connection to a collector. To be used from one thread, except `close`."""

    def __init__(self) -> None:
        self._status = 0
        session = requests.Session()
        session.hooks["response"].append(self._note_status)
        session.max_redirects = 0
        self._exporter = _Exporter(
            endpoint=f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces",
            headers=parse_env_headers(settings.OTEL_EXPORTER_OTLP_HEADERS, liberal=True),
            timeout=_PATIENCE_S,
            session=session,
        )

    def send(self, spans: Sequence[Span]) -> Sent:
        """Send spans; blocks for at most ten seconds."""
        self._status = 0
        is_accepted = self._exporter.send(spans)
        if is_accepted and self._status < 300:  # the library counts a redirect as a success
            return Sent.ACCEPTED
        return Sent.REFUSED if self._status in _REFUSALS else Sent.AWAY

    def close(self) -> None:
        """Abort waiting and retries. May be called from any thread."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    @property
    def why(self) -> str:
        """The last answer of the collector, as words for the log."""
        return f"it answers {self._status}" if self._status else "it does not answer"

    def _note_status(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._status = response.status_code
