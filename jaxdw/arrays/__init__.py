"""Arrays from files and from callers, in the shapes and formats of a plan."""
