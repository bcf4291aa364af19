"""How much memory a stretch of frames takes, and how long stretches may therefore be."""

from __future__ import annotations

from math import prod
from pathlib import Path

from vsrq.deploy.plan import Plan
from vsrq.errors import DataError

_FLOAT = 4
_BYTES = {"float32": 4, "float16": 2, "uint8": 1, "int8": 1}
_LONGEST = 60  # frames; beyond it the frames looked ahead at cost less than 10 %
_GIB = 2**30
# Of compiled graphs and their scratch, per pixel of the frame; measured on the networks with 64 channels.
_GRAPH_BYTES_PER_CHANNEL = 110


def bytes_per_frame(plan: Plan, height: int, width: int) -> int:
    """Return what a frame of a stretch keeps until the stretch is done: its features, flows and itself."""
    names = [step.name for step in plan.steps if not step.name.startswith("reconstruct")]
    kept = {port for name in names for port in plan.step(name).outputs if not port.is_state}
    flows = 2  # forward and backward, of which the list above holds one
    shapes = [port.shape(height, width) for port in kept] + [(1, 3, height, width), (flows - 1, 2, height, width)]
    return _FLOAT * sum(prod(shape) for shape in shapes)


def fixed_bytes(plan: Plan, height: int, width: int) -> int:
    """Return an estimate of what the compiled graphs and the residual state take, whatever the length of a stretch."""
    ports = {port for step in plan.steps for port in step.outputs}
    channels = max(port.channels for port in ports if not port.is_state)
    state = sum(prod(port.shape(height, width)) * _BYTES[port.dtype] for port in ports if port.is_state)
    # a call holds the old state and the new one
    return _GRAPH_BYTES_PER_CHANNEL * channels * height * width + 2 * state


def skip_bytes(plan: Plan, height: int, width: int) -> int:
    """Return what skipping keeps from call to call: the results of every step, twice while they are renewed."""
    shapes = [port.shape(height, width) for step in plan.steps for port in step.outputs]
    return 2 * _FLOAT * sum(prod(shape) for shape in shapes)


def longest_stretch(
    plan: Plan, height: int, width: int, *, lookahead: int, budget: int, canvas: int = 0, tiled: bool = False
) -> int:
    """Return how many frames may be finished at a time.

    The answer depends on nothing but the arguments, so that results are the same on every machine.

    Args:
        plan: Of the network.
        height: Of the padded frame or tile.
        width: Likewise.
        lookahead: Frames held beyond the finished ones.
        budget: Bytes.
        canvas: Bytes that a whole finished frame takes until the stretch is done, if it is blended from tiles.
        tiled: Whether it is.

    Raises:
        DataError: Not even one frame fits; says which size would.
    """
    per_frame = bytes_per_frame(plan, height, width)
    graphs = fixed_bytes(plan, height, width) + lookahead * per_frame
    finished = per_frame + (canvas if tiled else 0)
    if budget >= graphs + finished:
        return min(_LONGEST, (budget - graphs) // finished)
    needed = graphs + finished
    share = (max(0, budget - canvas) / (graphs + per_frame)) ** 0.5
    tile = int(width * share), int(height * share)
    what = "tiles" if tiled else "frames"
    remedy = (
        f"Tiles of {tile[0]}x{tile[1]} pixels fit: pass tile=(height, width), or" if min(tile) > 0 else "No tile fits:"
    )
    raise DataError(
        f"{what} of {width}x{height} pixels need about {needed / _GIB:.3g} GiB, {budget / _GIB:.3g} GiB are allowed. "
        f"{remedy} allow more with memory=."
    )


def available_bytes() -> int | None:
    """Return the memory this machine can still give, or ``None`` where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
