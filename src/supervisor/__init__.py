"""`penstock up`: keeps a registry, gateways and the workers that the registry asks for alive. Imports no torch."""
