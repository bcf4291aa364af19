"""Other toolkits for post-training quantization, at 8 bit, beside which vsrq's own is measured."""

from vsrq.benchmark.toolkits.toolkit import INSTALL, TOOLKITS, Quantized, Toolkit

__all__ = ["INSTALL", "TOOLKITS", "Quantized", "Toolkit"]
