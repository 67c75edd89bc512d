"""Plans as a memory report that ttnn-visualizer loads."""
