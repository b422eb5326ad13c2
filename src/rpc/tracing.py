"""The concern that makes a span for each sampled call. Names follow OpenTelemetry's RPC conventions (v1.44)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import grpc
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..errors import PenstockError
from ..telemetry import is_sampled
from .call import Call, Concern

_PROPAGATOR = TraceContextTextMapPropagator()
_UNTRACED = nullcontext()
_SERVER_FAULTS = {  # the conventions: only these are errors of the server's span
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


def traced(tracer: Tracer, ratio: float, random: Callable[[], float]) -> Concern:
    """A span around each sampled call; `call.metadata` then names it as the parent, for calls made further on."""

    def concern(call: Call) -> AbstractContextManager[None]:
        if not is_sampled(call.text("traceparent"), ratio, random):
            return _UNTRACED
        return _span(tracer, call)

    return concern


@contextmanager
def _span(tracer: Tracer, call: Call) -> Iterator[None]:
    parent = _PROPAGATOR.extract({k: v for k, v in call.metadata.items() if isinstance(v, str)})
    attributes = {"rpc.system.name": "grpc", "rpc.method": call.method[1:], "penstock.request_id": call.request_id}
    name = call.method[1:]
    with tracer.start_as_current_span(
        name, parent, SpanKind.SERVER, attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        call.metadata.update(carrier)
        status = "OK"
        try:
            yield
        except PenstockError as error:
            status = error.code.name
            if error.code in _SERVER_FAULTS:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", error.reason or status)
            raise
        finally:
            span.set_attribute("rpc.response.status_code", "CANCELLED" if call.cancelled else status)
            span.set_attributes({f"penstock.{key}": str(value) for key, value in call.facts.items()})
