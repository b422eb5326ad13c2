"""See `dimension`, `metric_type_enum`, `unit`."""
