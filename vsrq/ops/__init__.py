"""Operators in plain PyTorch."""
