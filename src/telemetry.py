"""Traces: W3C context in and out, and spans for the calls that are sampled, and only for them.

The decision falls at the door: a caller's `traceparent` decides by its sampled flag, else the configured ratio does. A
call that is not sampled makes no span object (the SDK would take 4 to 5 us for one that is thrown away).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

_TRACEPARENT = re.compile(
    r"(?!ff|00-.{52}.)"  # no version ff; version 00 has nothing behind the flags
    r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """Where spans go, and how many."""

    exporter: str = "off"
    """`off`; `console` (stderr, for development); `otlp` (extra `otlp`; endpoint from OTEL_EXPORTER_OTLP_ENDPOINT)."""
    ratio: float = 0.01
    """The share of calls sampled among those whose caller did not decide."""


def is_sampled(traceparent: str, ratio: float, random: Callable[[], float]) -> bool:
    """Whether a call gets spans (W3C Trace Context level 1: the sampled flag is bit 0; a bad header counts as none)."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match:
        return bool(int(match[1], 16) & 1)
    return ratio > 0 and random() < ratio


def make_tracer(config: TraceConfig, service: str) -> Tracer | None:
    """A tracer that exports as configured; None when tracing is off.

    Raises:
        ValueError: unknown exporter, or the extra for it is missing.
    """
    if config.exporter == "off":
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(_exporter(config.exporter)))
    return provider.get_tracer("penstock")


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    if name != "otlp":
        raise ValueError(f"unknown trace exporter {name!r}; known are off, console, otlp")
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ValueError("the trace exporter 'otlp' needs an extra: pip install 'penstock[otlp]'") from None
    exporter: SpanExporter = OTLPSpanExporter()
    return exporter


def default_random() -> Callable[[], float]:
    """A generator of its own for sampling."""
    return Random().random
