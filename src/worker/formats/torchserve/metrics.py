"""`context.metrics`: what handlers count. It goes to the log at level debug, and nothing of it is kept."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger("penstock.worker.mar")


class Metric:
    """One that a handler has made with `add_metric_to_cache`, or asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def add_or_update(self, value: Any, *dimensions: Any, **more: Any) -> None:
        """Log a value."""
        log.debug("metric %s: %s", self.name, value)

    update = add_or_update


class Metrics:
    """Takes every call that TorchServe's takes."""

    def __init__(self) -> None:
        self.request_ids: dict[int, str] | None = None

    def set_request_ids(self, request_ids: dict[int, str]) -> None:
        """Whose metrics come next."""
        self.request_ids = request_ids

    def add_metric(self, name: str, value: Any, *unit: Any, **more: Any) -> None:
        """Log a value."""
        log.debug("metric %s: %s", name, value)

    add_counter = add_time = add_size = add_percent = add_error = add_metric

    def add_metric_to_cache(self, metric_name: str, *unit: Any, **more: Any) -> Metric:
        """A metric that can be updated."""
        return Metric(metric_name)

    def get_metric(self, metric_name: str, *kind: Any, **more: Any) -> Metric:
        """A metric that can be updated; any name is known."""
        return Metric(metric_name)
