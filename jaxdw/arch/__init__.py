"""Chip facts, each with its source."""
