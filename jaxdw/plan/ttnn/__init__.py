"""What the two device programs of ttnn 0.81.1 share: grids, L1, slices, messages."""
