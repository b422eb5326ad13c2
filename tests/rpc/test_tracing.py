from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from penstock import errors
from penstock.rpc.tracing import traced

from .conftest import Echo, ask, serving

TRACE, PARENT = "a" * 32, "b" * 16


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def tracer(self) -> Tracer:
        return self.provider.get_tracer("test")


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.provider.shutdown()


def traceparent(flags: str) -> list[tuple[str, str]]:
    return [("traceparent", f"00-{TRACE}-{PARENT}-{flags}"), ("tracestate", "vendor=1")]


async def test_a_sampled_call_is_a_span_below_its_callers(spans: Spans) -> None:
    echo = Echo()
    async with serving(echo, concerns=[traced(spans.tracer, 0.0, lambda: 0.5)]) as caller:
        await caller.predict(metadata=[*traceparent("01"), ("x-request-id", "mine")])
    (span,) = spans.exporter.get_finished_spans()
    assert (span.name, span.kind) == ("penstock.v1.PredictService/Predict", SpanKind.SERVER)
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "penstock.v1.PredictService/Predict",
        "rpc.response.status_code": "OK",
        "penstock.request_id": "mine",
    }
    sent_on = echo.calls[0].text("traceparent")
    assert sent_on == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert echo.calls[0].text("tracestate") == "vendor=1"


async def test_a_call_that_is_not_sampled_makes_no_span_and_passes_on_its_headers(spans: Spans) -> None:
    echo = Echo()
    async with serving(echo, concerns=[traced(spans.tracer, 1.0, lambda: 0.0)]) as caller:
        await caller.predict(metadata=traceparent("00"))
    assert not spans.exporter.get_finished_spans()
    assert echo.calls[0].text("traceparent") == f"00-{TRACE}-{PARENT}-00"


async def test_the_ratio_decides_where_the_caller_did_not(spans: Spans) -> None:
    draws = iter([0.05, 0.2])
    async with serving(Echo(), concerns=[traced(spans.tracer, 0.1, lambda: next(draws))]) as caller:
        await caller.predict()
        await caller.predict()
    assert len(spans.exporter.get_finished_spans()) == 1


@pytest.mark.parametrize(
    ("error", "status", "error_type"),
    [
        (errors.NoLiveWorker("none"), StatusCode.ERROR, "NO_LIVE_WORKER"),
        (errors.InvalidInput("bad"), StatusCode.UNSET, None),
    ],
)
async def test_only_the_servers_own_faults_are_errors_of_its_span(
    spans: Spans, error: errors.PenstockError, status: StatusCode, error_type: str | None
) -> None:
    echo = Echo()
    echo.errors = {b"x": error}
    async with serving(echo, concerns=[traced(spans.tracer, 1.0, lambda: 0.0)]) as caller:
        with pytest.raises(errors.PenstockError):
            await ask(caller.predict())
    (span,) = spans.exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert span.status.status_code is status
    assert attributes.get("error.type") == error_type
    assert attributes["rpc.response.status_code"] == error.code.name
    assert not span.events
