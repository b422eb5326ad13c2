"""The proxy layer: authenticates, routes, balances and forwards bytes. Imports no torch and no numpy."""
