"""Load generation and statistics: what `penstock bench` and `make bench` are made of. Needs no torch.

Load is made in processes of its own (`python -m penstock.bench.generator`), so that statistics and plots never
disturb it.
"""
