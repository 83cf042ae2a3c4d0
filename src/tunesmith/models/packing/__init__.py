"""Several samples in one sequence: kept apart in attention and positions, and proven to be."""
