"""What the depthwise branch of tt-metal decides."""
