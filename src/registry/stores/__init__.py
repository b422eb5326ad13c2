"""Where the registry's state is kept: one file for each kind of store (see `registry.store`)."""
