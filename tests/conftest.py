import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads: many tests run side by side

from pathlib import Path

import pytest
import torch


@pytest.fixture
def data_root():
    """Where clips and weights lie when they are there at all."""
    return Path(os.environ.get("VSRQ_DATA", "data"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
