"""The emulated chip: memories, NoC, one core's program, the grid."""
