"""Plans as other tools read them: calls of ttnn, memory reports, NoC traces, CSV."""
