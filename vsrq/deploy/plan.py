"""What the step graphs of a network take and return: enough to drive them without knowing the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

from vsrq.errors import CheckpointError, did_you_mean


@dataclass(frozen=True)
class Port:
    """One input or output of a step graph.

    Attributes:
        name: What it carries; the runtime finds its value by this name.
        channels: Size of axis 1.
        size: Height and width over those of the (padded) frame, as a fraction such as ``'1/2'``; ``'0'`` for a
            number of shape (1, 1, 1, 1).
    """

    name: str
    channels: int
    size: str = "1"

    def shape(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the shape (1, c, h, w) for frames of ``height`` and ``width`` pixels."""
        if self.size == "0":
            return (1, 1, 1, 1)
        ratio = Fraction(self.size)
        return (1, self.channels, int(height * ratio), int(width * ratio))


@dataclass(frozen=True)
class StepSpec:
    """Signature of one step graph; the order of the ports is that of the graph.

    Attributes:
        name: ``flow``, ``encode``, ``propagate_<branch>``, ``align`` or ``reconstruct``.
        inputs: What it takes.
        outputs: What it returns.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Plan:
    """How the step graphs of one network belong together.

    Attributes:
        kind: ``recurrent`` (branches that run through the clip) or ``window`` (a sliding window).
        architecture: Registered name of the network.
        scale: Output size over input size.
        multiple: Frames are padded to a multiple of it.
        minimum: And at least to this size.
        steps: Signatures of the graphs.
        branches: Recurrent networks: their branches in order; those called ``backward...`` run from the last frame.
        num_frames: Window networks: length of the window.
        centre: Window networks: place of the upscaled frame in the window.
    """

    kind: Literal["recurrent", "window"]
    architecture: str
    scale: int
    multiple: int
    minimum: int
    steps: tuple[StepSpec, ...]
    branches: tuple[str, ...] = ()
    num_frames: int = 0
    centre: int = 0

    def step(self, name: str) -> StepSpec:
        """Return the signature of one step.

        Raises:
            CheckpointError: There is no such step.
        """
        for step in self.steps:
            if step.name == name:
                return step
        names = [step.name for step in self.steps]
        raise CheckpointError(f"the plan of {self.architecture} has no step {name!r}{did_you_mean(name, names)}")

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Return the size frames are padded to."""
        return tuple(max(self.minimum, -(-size // self.multiple) * self.multiple) for size in (height, width))  # type: ignore[return-value]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read what :meth:`to_json` wrote.

        Raises:
            CheckpointError: A key is missing or unknown.
        """
        try:
            steps = tuple(
                StepSpec(step["name"], _ports(step["inputs"]), _ports(step["outputs"])) for step in data["steps"]
            )
            return cls(**{**data, "steps": steps, "branches": tuple(data["branches"])})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the manifest's plan is broken ({error}); export the bundle again.") from error


def _ports(items: list[Mapping[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(**item) for item in items)
