"""Mistakes made on purpose, and recognised."""
