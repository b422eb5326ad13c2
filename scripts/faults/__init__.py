"""What callers and operators notice when the registry, or etcd behind it, is away: `python -m faults --help`."""
