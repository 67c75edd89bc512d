"""What real networks ask of a depthwise convolution."""
