"""`make bench`: every figure that the design promises, as ratios measured in one run."""
