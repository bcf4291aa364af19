"""vsrq: quantization of video super-resolution networks."""

__version__ = "0.1.0"
