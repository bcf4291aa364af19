"""The temporal state: what residual layers remember of a clip, owned by whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vsrq.errors import StateError
from vsrq.residual.call_site import current_call_site

TENSORS = ("input", "output", "drift")


@dataclass
class Memory:
    """What one layer remembers at one call site.

    Attributes:
        input: What the next call is predicted from, in the form the layer stores it in.
        output: The layer's output for it, without bias, likewise.
        drift: Estimated error of the output, ``(n,)``; only where a trigger asks for it.
        calls: Calls since the last reset.
        dtype: Of the layer's input; ``None`` if unknown, for a state that was loaded.
    """

    input: Tensor | None = None
    output: Tensor | None = None
    drift: Tensor | None = None
    calls: int = 0
    dtype: torch.dtype | None = None

    def fits(self, x: Tensor) -> bool:
        """Whether ``x`` can be predicted from this memory: same shape, dtype and device."""
        old = self.input
        if old is None or (old.shape, old.device) != (x.shape, x.device):
            return False
        return self.dtype in (None, x.dtype)

    def clear(self) -> None:
        """Forget everything."""
        self.input = self.output = self.drift = self.dtype = None
        self.calls = 0

    def detach_(self) -> None:
        """Cut the graph of the stored tensors."""
        for name, tensor in self.tensors():
            setattr(self, name, tensor.detach())

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and value of all stored tensors."""
        for name in TENSORS:
            tensor = getattr(self, name)
            if tensor is not None:
                yield name, tensor

    def select(self, samples: Tensor) -> Memory:
        """Return the memory of some samples of the batch, given as a mask ``(n,)``."""
        part = Memory(calls=self.calls, dtype=self.dtype)
        for name, tensor in self.tensors():
            setattr(part, name, tensor[samples])
        return part

    def merge(self, parts: list[tuple[Tensor, Memory]]) -> None:
        """Put memories of disjoint samples together, each with its mask ``(n,)``."""
        for name, _ in parts[0][1].tensors():
            setattr(self, name, join_samples([(mask, getattr(part, name)) for mask, part in parts]))


def join_samples(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Put tensors of disjoint samples, each with its mask ``(n,)``, together into one batch."""
    order = torch.cat([mask.nonzero()[:, 0] for mask, _ in parts])
    return torch.cat([part for _, part in parts])[order.argsort()]


class TemporalState:
    """Memory of all residual layers of one network for one clip.

    Reset it per clip and per scene cut. A memory whose shape, dtype or device no longer fits is dropped by the
    layer, which then codes a key frame.

    Example:
        >>> import torch
        >>> from vsrq.residual import TemporalState, temporal
        >>> net, state = torch.nn.Conv2d(3, 3, 1), TemporalState()
        >>> with temporal(net, state):
        ...     y = net(torch.zeros(1, 3, 4, 4))
        >>> state.nbytes
        0
    """

    def __init__(self) -> None:
        self._memories: dict[str, Memory] = {}
        self._names: dict[int, str] = {}
        self._model: nn.Module | None = None

    def bind(self, model: nn.Module) -> None:
        """Attach the state to a network.

        Raises:
            StateError: The state holds the past of another network.
        """
        if self._model is model:
            return
        if self._model is not None and self._memories:
            raise StateError(
                f"this state holds the past of another {type(self._model).__name__}; call reset() or use a new one."
            )
        self._model = model
        self._names = {id(module): name for name, module in model.named_modules()}

    def memory(self, layer: nn.Module) -> Memory:
        """Return the memory of ``layer`` at the current call site, made on first use.

        Raises:
            StateError: The layer does not belong to the network the state is bound to.
        """
        name = self._names.get(id(layer))
        if name is None:
            raise StateError(
                f"a {type(layer).__name__} ran inside temporal() of a network it does not belong to; "
                "pass the network that holds it."
            )
        site = current_call_site()
        key = f"{name}[{'/'.join(map(str, site))}]" if site else name
        return self._memories.setdefault(key, Memory())

    def reset(self) -> None:
        """Forget everything: the next call of every layer is a key frame."""
        self._memories.clear()

    def detach_(self) -> None:
        """Cut the graph of all stored tensors (truncated back-propagation in time)."""
        for memory in self._memories.values():
            memory.detach_()

    def tensors(self) -> dict[str, Tensor]:
        """Return all stored tensors by stable names ``layer[call site].field``, in the order of the first calls.

        They are the stored tensors themselves: the next call may change them in place.
        """
        return {f"{key}.{name}": tensor for key, memory in self._memories.items() for name, tensor in memory.tensors()}

    def calls(self) -> dict[str, int]:
        """Return the calls since the last reset, by ``layer[call site]``."""
        return {key: memory.calls for key, memory in self._memories.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], calls: Mapping[str, int]) -> None:
        """Replace the whole state by what :meth:`tensors` and :meth:`calls` returned.

        The tensors are taken over, not copied.

        Raises:
            StateError: A name is none that :meth:`tensors` gives, a layer is not in the network the state is bound
                to, or tensors and counters do not belong together.
        """
        memories: dict[str, Memory] = {key: Memory(calls=count) for key, count in calls.items()}
        for full_name, tensor in tensors.items():
            key, _, field = full_name.rpartition(".")
            if field not in TENSORS or key not in memories:
                raise StateError(
                    f"{full_name!r} is no tensor of a temporal state with {len(calls)} call counters; load what "
                    "tensors() and calls() returned together."
                )
            setattr(memories[key], field, tensor)
        known = set(self._names.values())
        for key, memory in memories.items():
            if self._model is not None and key.partition("[")[0] not in known:
                raise StateError(f"{type(self._model).__name__} has no layer {key!r}; this state is another network's.")
            if (memory.input is None) != (memory.output is None):
                raise StateError(f"the state of {key!r} needs both input and output.")
        self._memories = memories

    @property
    def nbytes(self) -> int:
        """Bytes of all stored tensors."""
        return sum(t.numel() * t.element_size() for t in self.tensors().values())


_STATE: ContextVar[TemporalState | None] = ContextVar("vsrq_temporal_state", default=None)


@contextmanager
def temporal(model: nn.Module, state: TemporalState) -> Iterator[TemporalState]:
    """Give the residual layers of ``model`` their past while the block runs.

    Args:
        model: Network whose layers run inside the block.
        state: Its memory; carried from block to block to continue a clip.

    Raises:
        StateError: The state holds the past of another network.
    """
    state.bind(model)
    token = _STATE.set(state)
    try:
        yield state
    finally:
        _STATE.reset(token)


def current_state() -> TemporalState | None:
    """Return the state of the innermost :func:`temporal` block, or ``None`` outside of any."""
    return _STATE.get()
