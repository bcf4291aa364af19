"""Bits per frame, chosen by a small network that is trained with the one it steers.

Reference: Sun et al., VideoIQ (ICCV 2021), carried over from classifying frames to recurrent super-resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrq.errors import ConfigError
from vsrq.models.budget import BudgetLoss, common_costs
from vsrq.models.frame_widths import frame_widths
from vsrq.quant.calibratable import Calibratable, name_calibratables
from vsrq.quant.layers import QuantLayer
from vsrq.quant.switchable import is_switchable
from vsrq.quant.width import Choice, check_widths
from vsrq.registry import MODELS


class BitPolicy(Calibratable):
    """Chooses the bits of all marked layers for each frame of a clip.

    In training a width is drawn (Gumbel-softmax, straight through), in evaluation the most probable one is taken, and
    in calibration the widest.

    Args:
        layers: The layers whose weight or activation has ``policy=True``, by name.
        widths: Bit widths to choose from, descending; the first is that of the marked quantizers.
        budget: Bit operations per multiply-accumulate of the marked layers, on average over frames.
        net: Config of the network, see :class:`vsrq.models.policy_net.FramePolicyNet`; it is given ``widths``.
        loss: Config of the loss, see :class:`vsrq.models.budget.BudgetLoss`.
        temperature: Of the softmax in training; the higher, the more a frame learns from widths it would not choose.
        use: Run every frame at this width instead.

    Attributes:
        costs: Bit operations per multiply-accumulate of the marked layers at each width.
        temperature: As above; ``PolicyHook`` changes it.

    Raises:
        ConfigError: No layer is marked, layers do not cost the same, or a value is out of range.
    """

    costs: Tensor

    def __init__(
        self,
        layers: Mapping[str, QuantLayer],
        *,
        widths: Sequence[int] = (8, 6, 4),
        budget: float | None = None,
        net: Mapping[str, Any] | None = None,
        loss: Mapping[str, Any] | None = None,
        temperature: float = 1.0,
        use: int | None = None,
    ) -> None:
        super().__init__()
        if not layers:
            raise ConfigError(
                "policy needs layers whose bits it may choose; set policy=True in quant.weight, quant.act or a rule."
            )
        self.widths = check_widths(widths)
        costs = common_costs(layers, self.widths)
        if budget is None or isinstance(budget, bool) or not costs[-1] <= budget <= costs[0]:
            raise ConfigError(
                f"policy.budget must lie between {costs[-1]} (all frames at {self.widths[-1]} bit) and {costs[0]} (all "
                f"at {self.widths[0]} bit) bit operations per multiply-accumulate of the marked layers, got {budget!r}."
            )
        if not isinstance(temperature, (int, float)) or not temperature > 0:
            raise ConfigError(f"policy.temperature must be above 0, got {temperature!r}.")
        if use is not None and use not in self.widths:
            allowed = ", ".join(map(str, self.widths))
            raise ConfigError(f"policy.use must be one of the widths {allowed}, or None for the policy, got {use!r}.")
        self.budget = float(budget)
        self.temperature = float(temperature)
        self.use = use
        self.net = MODELS.build({"_scope_": "vsrq", "type": "FramePolicyNet", **(net or {}), "widths": len(costs)})
        self.loss = MODELS.build({"_scope_": "vsrq", "type": BudgetLoss.__name__, **(loss or {})})
        self.register_buffer("costs", torch.tensor(costs, dtype=torch.float32), persistent=False)
        self._resting = False
        self._seen: list[Tensor] | None = None

    def choose(self, clip: Tensor) -> list[Choice]:
        """Choose a width for every frame of a clip ``(1, t, 3, h, w)``."""
        if self.use is not None:
            return [Choice(self.widths, self.widths.index(self.use))] * clip.shape[1]
        logits = self.net(clip)[0].float()
        if self._seen is not None:
            self._seen.append(logits)
        if not (self.training and torch.is_grad_enabled()):
            return [Choice(self.widths, index) for index in logits.argmax(-1).tolist()]
        gates = F.gumbel_softmax(logits, tau=self.temperature, hard=True)
        return [Choice(self.widths, i, g) for i, g in zip(gates.argmax(-1).tolist(), gates, strict=True)]

    @contextmanager
    def applied(self, clip: Tensor, net: nn.Module) -> Iterator[None]:
        """Let a network run a clip ``(1, t, 3, h, w)`` in the block, each frame at the width chosen for it."""
        if self._resting:
            yield
            return
        with frame_widths(net, self.choose(clip)):
            yield

    @contextmanager
    def collecting(self) -> Iterator[list[Tensor]]:
        """Collect the logits ``(t, widths)`` of all clips that run in the block."""
        seen: list[Tensor] = []
        self._seen = seen
        try:
            yield seen
        finally:
            self._seen = None

    def losses(self, seen: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the budget's loss, and average bits and cost for the log.

        Args:
            seen: What :meth:`collecting` gave; nothing where the policy did not choose.
        """
        if not seen:
            return {}
        logits = torch.cat(list(seen))
        decided = logits.detach().argmax(-1)
        bits = torch.tensor(self.widths, device=logits.device, dtype=torch.float32)
        # what has no "loss" in its name is logged, not trained on
        return {
            "loss_budget": self.loss(logits, self.costs, self.budget),
            "policy_cost": self.costs[decided].mean(),
            "policy_bits": bits[decided].mean(),
        }

    def start_observing(self, *, first_pass: bool) -> None:
        """Rest while ranges are calibrated, at the widest bits."""
        self._resting = True

    def stop_observing(self) -> None:
        """Choose again."""
        self._resting = False


def marked_layers(net: nn.Module) -> dict[str, QuantLayer]:
    """Return the layers with ``policy=True`` on weight or activation, by name."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, QuantLayer)
        and (is_switchable(module.weight_quantizer) or is_switchable(module.act_quantizer))
    }


def add_policy(net: nn.Module, policy: Mapping[str, Any] | None) -> None:
    """Put a :class:`BitPolicy` into a network, where a checkpoint finds it.

    Args:
        net: A step-wise network, changed in place.
        policy: Arguments of the policy; ``None`` for none.

    Raises:
        ConfigError: Layers are marked but there is no policy, or the network is not recurrent; see also
            :class:`BitPolicy`.
    """
    layers = marked_layers(net)
    if policy is None:
        if layers:
            raise ConfigError(
                f"a policy is to choose the bits of {len(layers)} layers ({', '.join(list(layers)[:3])}, ...), but "
                "there is none; set policy=dict(...), or policy=False in quant."
            )
        return
    if not hasattr(net, "propagate"):
        raise ConfigError(
            f"{type(net).__name__} is no recurrent network, and its windows share frames, for which policies would "
            "choose different bits. Allowed for BasicVSRNet and BasicVSRPlusPlusNet."
        )
    net.bit_policy = BitPolicy(layers, **policy)
    name_calibratables(net)
