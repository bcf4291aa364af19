"""Cross-layer equalisation: give the channels between two layers like ranges, without changing what is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vsrq.errors import ConfigError

_LINEAR = (nn.Conv2d, nn.Linear)


def equalizing_factors(first: Tensor, second: Tensor) -> Tensor:
    """Return by what to divide the outputs of one layer and multiply the inputs of the next.

    Args:
        first: Weight whose axis 0 are the channels, ``(c, ...)``.
        second: Weight whose axis 1 are the channels, ``(o, c, ...)``.

    Returns:
        ``sqrt(r1 / r2)`` with the largest magnitudes ``r1`` and ``r2`` of each channel, shape ``(c,)``; 1 for channels
        that are zero in one of the two.

    Reference: Nagel et al., Data-Free Quantization (ICCV 2019), equation 11.
    """
    r1, r2 = first.abs().flatten(1).amax(1), second.abs().movedim(1, 0).flatten(1).amax(1)
    return torch.where((r1 > 0) & (r2 > 0), (r1 / r2.clamp(min=1e-30)).sqrt(), 1.0)


@torch.no_grad()
def equalize(model: nn.Module, pairs: Iterable[Mapping[str, str]]) -> int:
    """Equalise pairs of layers that only a ReLU or LeakyReLU, or nothing, separates.

    Both activations commute with a positive factor per channel, so the network computes what it did before.
    Quantized networks must be calibrated afterwards.

    Args:
        model: Network, changed in place.
        pairs: Each with ``first`` and ``second``, the ends of two layers' names that are alike before: the pair
            ``conv1``, ``conv2`` is found in every block that has both.

    Returns:
        The number of pairs equalised.

    Raises:
        ConfigError: A pair is found nowhere, or its layers do not fit each other.
    """
    modules = dict(model.named_modules())
    count = 0
    for pair in pairs:
        first_end, second_end = pair["first"], pair["second"]
        found = 0
        for name in modules:
            prefix = name[: -len(first_end)]
            if not name.endswith(first_end) or (prefix and not prefix.endswith(".")):
                continue
            if prefix + second_end in modules:
                _equalize(name, modules[name], prefix + second_end, modules[prefix + second_end])
                found += 1
        if not found:
            raise ConfigError(f"no layers end with {first_end!r} and {second_end!r} after the same prefix.")
        count += found
    return count


def _equalize(first_name: str, first: nn.Module, second_name: str, second: nn.Module) -> None:
    for name, layer in ((first_name, first), (second_name, second)):
        if not isinstance(layer, _LINEAR) or getattr(layer, "groups", 1) != 1:
            raise ConfigError(f"layer {name} is no ungrouped convolution or linear layer; it cannot be equalised.")
    weight, following = first.weight, second.weight
    if weight.shape[0] != following.shape[1]:  # type: ignore[index]
        raise ConfigError(
            f"layer {first_name} puts out {weight.shape[0]} channels, {second_name} takes "  # type: ignore[index]
            f"{following.shape[1]}: they do not follow each other."  # type: ignore[index]
        )
    factors = equalizing_factors(weight, following)  # type: ignore[arg-type]
    weight.div_(factors.view(-1, *[1] * (weight.dim() - 1)))  # type: ignore[operator]
    following.mul_(factors.view(1, -1, *[1] * (following.dim() - 2)))  # type: ignore[operator]
    if first.bias is not None:
        first.bias.div_(factors)  # type: ignore[operator]
