"""Kinds of metrics."""

import enum


class MetricTypes(enum.Enum):
    """As in a handler's `add_metric_to_cache`."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
