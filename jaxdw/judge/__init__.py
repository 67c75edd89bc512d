"""Whether a result is right, and how far off it is."""
