"""Each step of a recurrent network at the width that was chosen for its frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from vsrq.quant.width import Choice, chosen
from vsrq.steps import wrapped_steps

_STEPS = ("flow", "encode", "propagate", "reconstruct")  # all other steps run inside of these


def frame_of(step: str, branch: str, call: int, frames: int) -> int:
    """Return the frame whose width a step runs at.

    Args:
        step: Name of the step.
        branch: Branch of ``propagate``, else ``""``.
        call: How often the step ran before, of ``propagate`` in this branch.
        frames: Frames of the clip.
    """
    if step == "flow":  # all pairs forward, then all backward: the frame the flow starts from
        return call if call < frames - 1 else call - frames + 2
    return frames - 1 - call if branch.startswith("backward") else call


@contextmanager
def frame_widths(net: nn.Module, choices: Sequence[Choice]) -> Iterator[None]:
    """Run a clip in the block, each step at the width of its frame.

    Args:
        net: A recurrent step-wise network.
        choices: One per frame of the clip.
    """
    calls: Counter[tuple[str, str]] = Counter()

    def wrap(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            branch = args[0] if name == "propagate" else ""
            frame = frame_of(name, branch, calls[name, branch], len(choices))
            calls[name, branch] += 1
            with chosen(choices[frame]):
                return step(*args, **kwargs)

        return run

    with wrapped_steps(net, [name for name in _STEPS if hasattr(net, name)], wrap):
        yield
