"""Measurements of jaxdw: `python -m bench NAME`."""
