"""Compares answers of two versions, in a process of its own: `python -m penstock.compare` (see gateway.comparer)."""
