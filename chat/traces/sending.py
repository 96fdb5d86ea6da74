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
#: Answers that say that these spans are not taken, now or later.
_REFUSALS = (400, 413, 415, 422)
_SCOPE = InstrumentationScope(name="thinkaloud")


class _Exporter(OTLPSpanExporter):
    """The library's, for spans in the shape in which they are sent: without its own objects, which cost as much again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before.
        told = {"service.name": "thinkaloud", **OTELResourceDetector().detect().attributes}
        self._resource = Resource()
        put_attributes(self._resource.attributes, told)

    def send(self, spans: Sequence[Span]) -> bool:
        """Send spans; whether they were taken."""
        scope_spans = [ScopeSpans(scope=_SCOPE, spans=spans)]
        request = ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=self._resource, scope_spans=scope_spans)]
        )
        return self._client.export(request.SerializeToString()).success


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
        self._exporter = _Exporter(
            endpoint=f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces",
            headers=parse_env_headers(settings.OTEL_EXPORTER_OTLP_HEADERS, liberal=True),
            timeout=_PATIENCE_S,
            session=session,
        )

    def send(self, spans: Sequence[Span]) -> Sent:
        """Send spans; blocks for up to ten seconds."""
        self._status = 0
        taken = self._exporter.send(spans)
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
