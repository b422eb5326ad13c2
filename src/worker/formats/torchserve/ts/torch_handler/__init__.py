"""The handlers that an archive may name instead of bringing its own."""
