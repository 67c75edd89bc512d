"""What users have in hand, read: JAX functions, pasted calls, rows, MLIR, messages."""
