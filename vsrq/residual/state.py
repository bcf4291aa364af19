"""The temporal state: what residual layers remember of a clip, owned by whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor, nn

from vsrq.errors import StateError
from vsrq.residual.call_site import current_call_site


@dataclass
class Memory:
    """What one layer remembers at one call site.

    Attributes:
        input: Reconstructed input of the last call.
        output: Accumulated output of the last call, without bias.
        calls: Calls since the last reset.
    """

    input: Tensor | None = None
    output: Tensor | None = None
    calls: int = 0

    def fits(self, x: Tensor) -> bool:
        """Whether ``x`` can be predicted from this memory: same shape, dtype and device."""
        old = self.input
        return old is not None and (old.shape, old.dtype, old.device) == (x.shape, x.dtype, x.device)


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
        self._memories: dict[tuple[object, ...], Memory] = {}
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
        return self._memories.setdefault((name, *current_call_site()), Memory())

    def reset(self) -> None:
        """Forget everything: the next call of every layer is a key frame."""
        self._memories.clear()

    def detach_(self) -> None:
        """Cut the graph of all stored tensors (truncated back-propagation in time)."""
        for memory in self._memories.values():
            if memory.input is not None and memory.output is not None:
                memory.input, memory.output = memory.input.detach(), memory.output.detach()

    @property
    def nbytes(self) -> int:
        """Bytes of all stored tensors."""
        tensors = [t for m in self._memories.values() for t in (m.input, m.output) if t is not None]
        return sum(t.numel() * t.element_size() for t in tensors)


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
