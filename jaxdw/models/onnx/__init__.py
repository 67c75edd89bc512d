"""Depthwise layers of ONNX files."""
