"""The emulated chip: memories, NoC, one core, the grid, arithmetic."""
