"""Many configurations: a space of points, a runner, rows in a file."""
