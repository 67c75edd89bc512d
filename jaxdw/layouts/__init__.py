"""Layouts proved: where everything has to be, stated independently."""
