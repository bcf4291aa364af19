"""Packed checkpoints: weights of quantized layers stored as the codes of their grids, a few bits each."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vsrq.errors import CheckpointError, ConfigError
from vsrq.quant.layers import QuantLayer
from vsrq.quant.quantizer import FLOAT_BITS, WeightQuantizer

CODES = ".weight_codes"  # in the place of ``.weight``


def pack_bits(codes: Tensor, bits: int) -> Tensor:
    """Put codes side by side into bytes, the first into the lowest bits; widths of 3 and 5 to 7 take 4 and 8.

    Args:
        codes: Integers from 0 below ``2**bits``, any shape.
        bits: 2 to 8.

    Returns:
        ``uint8``, one axis; the last byte is filled up with zeros.
    """
    width, per_byte = _layout(bits)
    flat = codes.flatten().to(torch.int32)
    flat = torch.nn.functional.pad(flat, (0, -len(flat) % per_byte)).view(-1, per_byte)
    shifts = width * torch.arange(per_byte, device=codes.device, dtype=torch.int32)
    return (flat << shifts).sum(1).to(torch.uint8)


def unpack_bits(packed: Tensor, bits: int, shape: torch.Size) -> Tensor:
    """Return the codes that :func:`pack_bits` packed, ``int32`` of the given shape.

    Raises:
        CheckpointError: There are more or fewer bytes than the shape takes.
    """
    width, per_byte = _layout(bits)
    expected = -(-shape.numel() // per_byte)
    if packed.shape != (expected,):
        raise CheckpointError(
            f"{tuple(packed.shape)} packed bytes instead of {expected} for {tuple(shape)} at {bits} bit"
        )
    shifts = width * torch.arange(per_byte, device=packed.device, dtype=torch.int32)
    codes = (packed.to(torch.int32)[:, None] >> shifts) & (2**width - 1)
    return codes.flatten()[: shape.numel()].view(shape)


@torch.no_grad()
def pack_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a quantized network with the weights of its quantized layers as codes.

    Loaded again, the weights are those on the grid and no longer the float ones behind them: the network computes what
    it did, bit for bit, but training it further starts from there.

    Args:
        model: Calibrated network of :func:`vsrq.quant.prepare`.

    Raises:
        ConfigError: No layer has a quantized weight, or a residual layer quantizes its weight twice.
        CalibrationError: A weight has no range yet.
    """
    state = dict(model.state_dict())
    layers = _quantized(model)
    if not layers:
        raise ConfigError(f"{type(model).__name__} has no layer with a quantized weight; save its weights as they are.")
    for name, layer in layers.items():
        if hasattr(layer, "residual_weight_quantizer"):
            raise ConfigError(
                f"layer {name} quantizes its weight once for key frames and once for residuals, from the float weight: "
                "one set of codes is not enough. Save the weights as they are."
            )
        scale, zero_point, qmin, qmax = layer.weight_quantizer.qparams()
        scale, zero_point = (_along(value, layer) for value in (scale, zero_point))
        codes = torch.clamp(torch.round(layer.weight / scale) + zero_point, qmin, qmax) - qmin
        del state[f"{name}.weight"]
        state[name + CODES] = pack_bits(codes, layer.weight_quantizer.bits)
    return state


@torch.no_grad()
def unpack_weights(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return a state with codes replaced by the weights they stand for; a state without codes as it is.

    Args:
        state: As of :func:`pack_weights`.
        model: The network it is for; not changed.

    Raises:
        CheckpointError: Codes belong to no quantized layer of the network, or do not fit it.
    """
    unpacked = {name: value for name, value in state.items() if not name.endswith(CODES)}
    layers = _quantized(model)
    for key in state.keys() - unpacked.keys():
        name = key.removesuffix(CODES)
        if name not in layers:
            raise CheckpointError(f"{key}: the network has no quantized layer {name!r}; use the config of the weights.")
        layer = layers[name]
        quantizer = copy.deepcopy(layer.weight_quantizer)
        try:
            quantizer.load_state_dict({own: state[f"{name}.weight_quantizer.{own}"] for own in quantizer.state_dict()})
            codes = unpack_bits(state[key], quantizer.bits, layer.weight.shape)
        except (KeyError, RuntimeError, CheckpointError) as error:
            raise CheckpointError(f"{key} does not fit the network's quantizer: {error}.") from error
        scale, zero_point, qmin, _ = quantizer.qparams()
        scale, zero_point = (_along(value, layer) for value in (scale, zero_point))
        unpacked[f"{name}.weight"] = scale * (codes + qmin - zero_point)
    return unpacked


def _layout(bits: int) -> tuple[int, int]:
    """Return the bits a code takes and the codes a byte holds."""
    width = next(width for width in (2, 4, 8) if bits <= width)
    return width, 8 // width


def _quantized(model: nn.Module) -> dict[str, QuantLayer]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QuantLayer)
        and isinstance(module.weight_quantizer, WeightQuantizer)
        and module.weight_quantizer.bits != FLOAT_BITS
    }


def _along(value: Tensor, layer: QuantLayer) -> Tensor:
    """View one value per channel so that it broadcasts over the weight."""
    axis = layer.weight_quantizer.axis
    return value.view([-1 if axis == dim else 1 for dim in range(layer.weight.dim())])
