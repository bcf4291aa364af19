"""Which tiles a call of a step has to compute, and with how much around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import NamedTuple

import cv2
import numpy as np

from vsrq.deploy.driver import Arrays
from vsrq.deploy.plan import StepSpec
from vsrq.errors import StateError
from vsrq.residual.skip_policy import SkipPolicy, changed_pixels, longest, moved, spread, tiles_of, to_frame_size

_STEP = 4  # pixels; margins are multiples of it: windows begin at whole pixels of a pyramid, and have few shapes
_MOST_MISSES = 2  # after which one call of 16 is looked at
_SEARCH = 8  # pixels a step without a bounded receptive field sees at least: twice as many gained little


@dataclass(frozen=True)
class Kept:
    """What a step keeps from call to call; a call replaces it, and changes arrays that nothing else holds.

    Attributes:
        references: What was last computed with, tile by tile: inputs, or the frames seen.
        outputs: Results, by name.
        age: Calls so far.
        calls: Since everything was computed.
        misses: Looks, at most 2, after which everything had to be computed, since at least half was saved.
        pause: Calls that are computed whole before the next look; nothing is kept for them.
        depth: Of the results: their age when they were last computed as a whole, refreshes apart.
        made_of: Depths, of :class:`vsrq.runtime.skip.depths.Depths`, of the branches' results they were made of then.
    """

    references: tuple[np.ndarray, ...] = ()
    outputs: Arrays = field(default_factory=dict)
    age: int = 0
    calls: int = 0
    misses: int = 0
    pause: int = 0
    depth: int = 0
    made_of: tuple[int, ...] = ()

    def after_whole(
        self, references: tuple[np.ndarray, ...], outputs: Arrays, made_of: tuple[int, ...], *, looked: bool
    ) -> Kept:
        """Return what is kept after a call that computed the whole frame for what had changed.

        Args:
            references: What it computed with.
            outputs: Its results.
            made_of: See the attribute.
            looked: Whether because of what had changed in its frames. The more often in a row, the longer until the
                next look, so that motion everywhere costs next to nothing.
        """
        age, misses = self.age + 1, min(self.misses + looked, _MOST_MISSES)
        pause = 4**misses - 1 if looked else max(self.pause - 1, 0)
        if pause:
            return Kept(age=age, misses=misses, pause=pause, depth=age)
        return Kept(references, outputs, age, misses=misses, depth=age, made_of=made_of)

    def after_refresh(self, references: tuple[np.ndarray, ...], outputs: Arrays, made_of: tuple[int, ...]) -> Kept:
        """Return what is kept after a call that computed the whole frame though little had changed.

        At rest such results are hardly news: later steps wait for their own refresh.
        """
        return replace(self, references=references, outputs=outputs, age=self.age + 1, calls=0, made_of=made_of)

    def after_windows(self, references: tuple[np.ndarray, ...], outputs: Arrays, *, worth: bool) -> Kept:
        """Return what is kept after a call that computed some windows, or none.

        Args:
            references: What every tile was last computed with.
            outputs: Results.
            worth: Whether at least half was saved; else the next miss is one more in a row.
        """
        misses = 0 if worth else self.misses
        return replace(
            self, references=references, outputs=outputs, age=self.age + 1, calls=self.calls + 1, misses=misses
        )

    def copy(self) -> Kept:
        """Return the same, held by two from now on; see :meth:`vsrq.deploy.driver.Kept.copy`."""
        # a tuple of its own, as tuple() does not give: what holds an array is counted
        return replace(self, references=(*self.references,), outputs=dict(self.outputs))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in (*self.references, *self.outputs.values()))


class Activity(NamedTuple):
    """What is to be computed.

    Attributes:
        tiles: Bool ``(rows, columns)``.
        margin: Pixels the network has to see around them.
    """

    tiles: np.ndarray
    margin: int


class Judge:
    """Applies a policy to the calls of the steps of one network.

    Args:
        policy: The policy.
        height: Of the frames in pixels.
        width: Likewise.
    """

    def __init__(self, policy: SkipPolicy, height: int, width: int) -> None:
        self.policy, self.height, self.width = policy, height, width

    def driving(self, spec: StepSpec, values: Arrays, seen: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return the arrays whose change makes a step compute: the frames it depends on, or all its inputs.

        Features of a recurrent branch change a little at every call. To follow them is exact and saves little, so
        frames decide unless the tolerance is 0.
        """
        if self.policy.tolerance > 0 and seen:
            return tuple(seen)
        return tuple(values[port.name] for port in spec.inputs)

    def can_tell(self, driving: Sequence[np.ndarray], made_of: Sequence[int], kept: Kept) -> bool:
        """Return whether there is something to compare with, and no branch got to know more as a whole since.

        Its features are new everywhere then, more so than their frames: what has been made of older ones would stay
        behind. Where a branch begins anew it knows less, and what has been made of its earlier features is better.
        """
        deeper = any(new > old for new, old in zip(made_of, kept.made_of, strict=False))
        if self.policy.tolerance > 0 and deeper:
            return False
        return not kept.pause and 0 < len(driving) <= len(kept.references)

    def due(self, driving: Sequence[np.ndarray], kept: Kept) -> bool:
        """Return whether everything is to be computed again, though little has changed.

        Where a branch begins anew, and knows less than it did, that waits.
        """
        whole = len(driving) == len(kept.references)
        return whole and self.policy.refresh is not None and kept.calls + 1 >= self.policy.refresh

    def activity(self, spec: StepSpec, driving: Sequence[np.ndarray], values: Arrays, kept: Kept) -> Activity | None:
        """Return what a call has to compute, if :meth:`can_tell`; ``None`` for the whole frame.

        Raises:
            StateError: What is kept is of frames of another size.
        """
        policy = self.policy
        mask = np.zeros((self.height, self.width), np.uint8)
        for array, reference in zip(driving, kept.references, strict=False):
            if array is reference:
                continue
            if array.shape != reference.shape:
                raise StateError(
                    f"{spec.name} keeps arrays of shape {reference.shape}, this call brings {array.shape}: reset the "
                    "driver before it gets other frames."
                )
            changed = changed_pixels(array, reference, policy.tolerance)
            if changed.size == 1:  # a gate belongs to the whole frame
                if changed.item():
                    return None
                continue
            mask |= to_frame_size(changed, self.height, self.width)
        pixels = cv2.countNonZero(mask)
        if not pixels:
            return Activity(tiles_of(mask, policy.tile), 0)
        if not policy.saves(pixels, mask.size):
            return None  # whatever is around them
        return self._with_halo(spec, mask, [values[port.name] for port in spec.inputs if port.name.startswith("flow_")])

    def _with_halo(self, spec: StepSpec, mask: np.ndarray, flows: list[np.ndarray]) -> Activity | None:
        exact = self.policy.halo == "full"
        halo = spec.receptive_field if self.policy.halo == "full" else self.policy.halo
        if halo is None:
            return None  # any change may be seen everywhere
        if spec.receptive_field is not None:
            halo = min(halo, spec.receptive_field)
        if exact:
            motion = sum(_pixels(longest(flow)) for flow in flows)
            return self._tiles(spread(mask, _within(halo + motion, mask)), halo + motion)
        for flow in flows[:1]:
            mask |= moved(mask, flow)
        mask = spread(mask, _within(halo, mask))
        motion = sum(_pixels(longest(flow, mask)) for flow in flows)
        context = halo if spec.receptive_field is not None else max(halo, _SEARCH)
        return self._tiles(mask, context + motion)

    def _tiles(self, mask: np.ndarray, margin: int) -> Activity:
        return Activity(tiles_of(mask, self.policy.tile), -(-margin // _STEP) * _STEP)


def _pixels(length: float) -> int:
    """Return a length in whole pixels, rounded up, and no more than reaches across any frame."""
    return ceil(length) if length < 2**15 else 2**15


def _within(radius: int, mask: np.ndarray) -> int:
    return min(radius, max(mask.shape))
