"""The store in etcd, for several registries of which one leads: its client, who leads, and where what is kept."""
