"""Graphs come and go in any order; the stack for signal handlers stays the one that is in use."""

import ctypes
import gc
import sys

import pytest
from torch import nn

pytest.importorskip("openvino")

from vsrq.deploy.backend import get_backend
from vsrq.deploy.plan import Port, StepSpec
from vsrq.deploy.step import Step


class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]  # stack_t of Linux


def signal_stack():
    found = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.start


@pytest.mark.skipif(sys.platform != "linux", reason="only there does OpenVINO set one")
def test_the_stack_for_signals_outlives_the_graphs(tmp_path):
    backend, spec = get_backend("openvino"), StepSpec("encode", (Port("x", 3),), (Port("y", 3),))
    layer = nn.Conv2d(3, 3, 3, padding=1)
    file = tmp_path / "encode.xml"
    backend.export(Step(layer, spec, layer.forward), file, height=16, width=16, dynamic=True, options={})
    graphs = [backend.load(file, spec, height=16, width=width, options={"threads": 1}) for width in (16, 24, 32)]
    before = signal_stack()
    while graphs:
        del graphs[0]
        gc.collect()
    assert signal_stack() == before
