"""The dense matmul of ttnn 0.81.1 on weights expanded with zeros."""
