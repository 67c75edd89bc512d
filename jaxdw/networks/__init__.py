"""What the chip's numerics do to whole networks."""
