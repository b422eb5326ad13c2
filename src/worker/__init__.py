"""The serving layer: one process with one version of one model on one device, and its batching queue."""
