"""See `util`."""
