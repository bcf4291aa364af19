"""Depth-dynamic networks: residual blocks that can be left out, the less needed ones first.

Reference: Qin et al., QuantSR (NeurIPS 2023), depth-dynamic quantized architecture.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from mmagic.models.archs import ResidualBlockNoBN
from torch import Tensor, nn

from vsrq.errors import ConfigError, did_you_mean

FULL = "full"
STANDARD_DEPTHS = {FULL: 1.0, "half": 0.5, "quarter": 0.25}


class DepthBlock(nn.Module):
    """A residual block with a learnable scalar on its shortcut, which can be all that is left of it.

    The shortcut starts at 1, where the block computes what it did before, bit for bit.

    Args:
        block: The block to take over: its children and their names, with its parameters, not copies.

    Attributes:
        shortcut: The scalar.
        rank: Place among the blocks of the trunk, 0 for the one needed most; a buffer, so that checkpoints carry it.
        keep: How many blocks of the trunk run; ``None`` for all.
    """

    rank: Tensor

    def __init__(self, block: ResidualBlockNoBN) -> None:
        super().__init__()
        self.conv1, self.relu, self.conv2 = block.conv1, block.relu, block.conv2
        self.res_scale = block.res_scale
        self.shortcut = nn.Parameter(torch.ones((), device=block.conv1.weight.device))
        self.register_buffer("rank", torch.zeros((), dtype=torch.int64, device=block.conv1.weight.device))
        # mirrored, because reading a tensor in every forward would stall a GPU
        self._rank = 0
        self.keep: int | None = None

    @property
    def skipped(self) -> bool:
        """Whether the block is left out at the current depth."""
        return self.keep is not None and self._rank >= self.keep

    def set_rank(self, rank: int) -> None:
        """Set the place among the blocks of the trunk."""
        self.rank.fill_(rank)
        self._rank = rank

    def forward(self, x: Tensor) -> Tensor:
        """Run the block, or its scaled shortcut alone; ``x`` and the result are (n, c, h, w)."""
        identity = self.shortcut * x
        if self.skipped:
            return identity
        return identity + self.conv2(self.relu(self.conv1(x))) * self.res_scale

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._rank = int(self.rank)

    def extra_repr(self) -> str:
        """The block's place and whether it runs."""
        return f"rank={self._rank}{', skipped' if self.skipped else ''}"


class DynamicDepth:
    """The depths a network can run at, all with the same weights.

    Args:
        net: A step-wise network; the blocks of its trunks are replaced in place.
        trunks: Globs over the names of ``nn.Sequential`` of residual blocks; by default ``net.trunks``.
        depths: Depths by name, beside ``full``, ``half`` and ``quarter``: the share of the blocks of each trunk that
            run, in (0, 1]; the number of blocks is rounded up.
        use: The depth to begin with.
        double: Begin with twice the blocks, as the paper does: each is followed by a copy of itself with a learned
            factor of 0 on its branch, so that the network computes what it did before until it is trained.

    Attributes:
        blocks: The blocks by the name of their trunk.
        shares: The share of blocks by the name of the depth.
        current: Name of the current depth.
        trained: Depths that are trained jointly; empty to train the current one, see ``DepthHook``.

    Raises:
        ConfigError: A glob finds no trunk, a share is out of range, or a depth is unknown.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        trunks: Sequence[str] | None = None,
        depths: Mapping[str, float] | None = None,
        use: str = FULL,
        double: bool = False,
    ) -> None:
        if not isinstance(double, bool):
            raise ConfigError(f"depth.double must be True or False, got {double!r}.")
        found = _find_trunks(net, net.trunks if trunks is None else trunks)  # type: ignore[arg-type]
        self.blocks: dict[str, list[DepthBlock]] = {}
        for name, trunk in found.items():
            if double:
                _double(trunk)
            for position, block in enumerate(trunk):
                trunk[position] = DepthBlock(block)
            self.blocks[name] = list(trunk)  # type: ignore[arg-type]
        self.shares = dict(STANDARD_DEPTHS)
        for name, share in (depths or {}).items():
            self.register(name, share)
        self.trained: tuple[str, ...] = ()
        self.rank()
        self.set(use)

    def register(self, name: str, share: float) -> None:
        """Add a depth at which ``share`` of the blocks of each trunk run, in (0, 1].

        Raises:
            ConfigError: The share is out of range, or ``full`` would not be full.
        """
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise ConfigError(f"depth {name!r} must be a share of the blocks in (0, 1], got {share!r}.")
        if name == FULL and share != 1:
            raise ConfigError(f"depth 'full' is all blocks, got {share!r}; give the new depth another name.")
        self.shares[name] = float(share)

    def check(self, names: Iterable[str]) -> None:
        """Raise :class:`ConfigError` for the first name that is no registered depth."""
        for name in names:
            if name not in self.shares:
                hint = did_you_mean(name, self.shares)
                raise ConfigError(
                    f"unknown depth {name!r}{hint}. Allowed: {', '.join(self.shares)}; others are registered with "
                    "depth=dict(depths={name: share})."
                )

    def set(self, name: str) -> None:
        """Run at a depth from now on.

        Raises:
            ConfigError: There is no such depth.
        """
        self.check([name])
        for blocks in self.blocks.values():
            for block in blocks:
                block.keep = self._count(name, blocks)
        self.current = name

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Run at a depth while the block runs."""
        before = self.current
        self.set(name)
        try:
            yield
        finally:
            self.set(before)

    @torch.no_grad()
    def rank(self) -> None:
        """Rank the blocks of each trunk by their shortcuts: the larger the scalar, the less the block is needed.

        Of equal ones the earlier block is kept.
        """
        for blocks in self.blocks.values():
            order = sorted(range(len(blocks)), key=lambda i: (blocks[i].shortcut.abs().item(), i))
            for rank, position in enumerate(order):
                blocks[position].set_rank(rank)

    def kept(self, name: str) -> dict[str, list[int]]:
        """Return the positions of the blocks that run at a depth, by the name of the trunk."""
        self.check([name])
        return {
            trunk: [i for i, block in enumerate(blocks) if block._rank < self._count(name, blocks)]
            for trunk, blocks in self.blocks.items()
        }

    def _count(self, name: str, blocks: Sequence[DepthBlock]) -> int:
        # rounding errors of the share must not add a block
        return math.ceil(self.shares[name] * len(blocks) - 1e-9)


def skipped_layers(net: nn.Module) -> list[nn.Module]:
    """Return the layers that do not run at the current depth."""
    return [
        layer
        for block in net.modules()
        if isinstance(block, DepthBlock) and block.skipped
        for layer in (block.conv1, block.conv2)
    ]


def same_depth(net: nn.Module) -> Callable[[], AbstractContextManager[None]]:
    """Return what opens a ``with`` block in which a network runs at the depth it has now."""
    kept = [(block, block.keep) for block in net.modules() if isinstance(block, DepthBlock)]

    @contextmanager
    def restored() -> Iterator[None]:
        before = [block.keep for block, _ in kept]
        for block, keep in kept:
            block.keep = keep
        try:
            yield
        finally:
            for (block, _), keep in zip(kept, before, strict=True):
                block.keep = keep

    return restored


def _double(trunk: nn.Sequential) -> None:
    blocks = []
    for block in trunk:
        twin = copy.deepcopy(block)
        # not a zero weight, whose grid would have no step to grow from
        twin.res_scale = nn.Parameter(torch.zeros((), device=next(twin.parameters()).device))
        blocks += [block, twin]
    del trunk[:]
    trunk.extend(blocks)


def _find_trunks(net: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Sequential]:
    candidates = {name: module for name, module in net.named_modules() if _is_trunk(module)}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in candidates):
            raise ConfigError(
                f"depth.trunks: {pattern!r} is no sequence of residual blocks of {type(net).__name__}"
                f"{did_you_mean(pattern, candidates)}. There are: {', '.join(candidates) or 'none'}."
            )
    return {n: m for n, m in candidates.items() if any(fnmatchcase(n, pattern) for pattern in patterns)}


def _is_trunk(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Sequential)
        and len(module) > 0
        and all(isinstance(block, ResidualBlockNoBN) for block in module)
    )
