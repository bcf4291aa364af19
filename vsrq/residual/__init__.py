"""Temporal residual quantization of linear layers: code the change between successive calls with few bits."""
