"""Number formats and the arithmetic of the chip."""
