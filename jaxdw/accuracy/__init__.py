"""What the chip's numerics do to a whole network."""
