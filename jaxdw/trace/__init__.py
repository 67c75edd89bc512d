"""Where a value went: weights, cores, addresses."""
