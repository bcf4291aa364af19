"""What the step graphs of a network take and return: enough to drive them without knowing the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal

from vsrq.errors import CheckpointError, did_you_mean

STATE = "state:"  # with which the names of such ports begin


@dataclass(frozen=True)
class Port:
    """One input or output of a step graph.

    Attributes:
        name: What it carries; the runtime finds its value by this name.
        channels: Size of axis 1.
        size: Height and width over those of the (padded) frame, as a fraction such as ``'1/2'``; ``'0'`` for a
            number of shape (1, 1, 1, 1).
        dtype: Of its values.
    """

    name: str
    channels: int
    size: str = "1"
    dtype: str = "float32"

    @property
    def is_state(self) -> bool:
        """Whether it carries what a residual layer remembers from call to call."""
        return self.name.startswith(STATE)

    def shape(self, height: int, width: int, batch: int = 1) -> tuple[int, int, int, int]:
        """Return the shape (n, c, h, w) for ``batch`` frames of ``height`` and ``width`` pixels."""
        if self.size == "0":
            return (1, 1, 1, 1)
        return (batch, self.channels, int(height * self.ratio), int(width * self.ratio))

    @property
    def ratio(self) -> Fraction:
        """Height and width over those of the frame; 0 for a number."""
        return Fraction(self.size)


@dataclass(frozen=True)
class StepSpec:
    """Signature of one step graph; the order of the ports is that of the graph.

    Attributes:
        name: ``flow``, ``encode``, ``propagate_<branch>``, ``reference``, ``align`` or ``reconstruct``; graphs that
            share a step among them have ``@<number>`` added.
        inputs: What it takes.
        outputs: What it returns.
        receptive_field: Pixels of the frame that a result depends on in every direction, besides what flows add;
            ``None`` for the whole frame, or where nothing is known.
        macs: Multiply-accumulates per pixel of the frame; ``None`` where they were not counted.
        bops: Bit operations per pixel of the frame, float layers counted as 32 x 32; ``None`` likewise.
        multiple: The step enlarges its inputs to a multiple of so many pixels: other sizes take as long as that one.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    receptive_field: int | None = None
    macs: float | None = None
    bops: float | None = None
    multiple: int = 1


@dataclass(frozen=True)
class Schedule:
    """Which graph serves which call of a step with residual layers: key frames and others compute different things.

    Attributes:
        first: Names of the graphs of the first calls since a reset.
        cycle: Names for all later ones, over and over.
    """

    first: tuple[str, ...]
    cycle: tuple[str, ...]

    def graph(self, call: int) -> str:
        """Return the name of the graph for call number ``call``, from 0."""
        if call < len(self.first):
            return self.first[call]
        return self.cycle[(call - len(self.first)) % len(self.cycle)]


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
        schedules: Steps that several graphs share, by their name without a number.
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
    schedules: dict[str, Schedule] = field(default_factory=dict)

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

    def inputs(self, name: str) -> list[Port]:
        """Return what a step takes besides its state."""
        graph = self.schedules[name].graph(0) if name in self.schedules else name
        return [port for port in self.step(graph).inputs if not port.is_state]

    def has(self, name: str) -> bool:
        """Whether the network has this step."""
        return name in self.schedules or any(step.name == name for step in self.steps)

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
                StepSpec(
                    step["name"],
                    _ports(step["inputs"]),
                    _ports(step["outputs"]),
                    step.get("receptive_field"),  # bundles of earlier versions do not say
                    step.get("macs"),
                    step.get("bops"),
                    step.get("multiple", 1),
                )
                for step in data["steps"]
            )
            schedules = {
                name: Schedule(tuple(item["first"]), tuple(item["cycle"])) for name, item in data["schedules"].items()
            }
            return cls(**{**data, "steps": steps, "branches": tuple(data["branches"]), "schedules": schedules})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the manifest's plan is broken ({error}); export the bundle again.") from error


def _ports(items: list[Mapping[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(**item) for item in items)
