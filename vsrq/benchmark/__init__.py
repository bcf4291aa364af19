"""Measurements of ``tools/benchmark.py``: one module per subcommand, each with ``add_arguments`` and ``main``."""
