"""The 1D depthwise program of ttnn 0.81.1."""
