"""Load weights in the layouts found in the wild."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vsrq.compat.checkpoints import read_checkpoint
from vsrq.errors import CheckpointError, ConfigError
from vsrq.quant.packing import unpack_weights

_CONTAINERS = ("state_dict", "params_ema", "params")
_PREFIXES = ("module.", "generator_ema.", "generator.")
_SHOWN = 8


def read_state_dict(path: str | Path, trust: bool = False) -> dict[str, Tensor]:
    """Read the weights of one network from a checkpoint.

    Layouts: a plain state dict; mmagic, mmediting and MMEngine (``state_dict`` with ``generator.`` names and
    perhaps ``module.``); BasicSR (``params_ema`` before ``params``). Names are returned without those prefixes;
    where a file holds both a generator and its moving average, the average is taken.

    Args:
        path: A local file.
        trust: Unpickle anything the file holds, which executes code of whoever wrote it.

    Raises:
        CheckpointError: The file is missing, broken, needs trust, or holds no weights.
    """
    content = read_checkpoint(path, trust=trust)
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    tensors = _tensors(content)
    if not tensors:
        found = ", ".join(map(repr, list(content)[:_SHOWN])) if isinstance(content, Mapping) else type(content)
        raise CheckpointError(
            f"checkpoint {str(path)!r} holds no weights where they are looked for: at the top or under "
            f"{', '.join(map(repr, _CONTAINERS))}. It holds: {found or 'nothing'}."
        )
    for prefix in _PREFIXES:
        inside = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        tensors = inside or tensors
    return tensors


def load_weights(net: nn.Module, path: str | Path, *, strict: bool = True, trust: bool = False) -> None:
    """Load a checkpoint into a network; the network is either loaded or left as it was.

    BasicSR's names of BasicVSR are translated to mmagic's; packed weights (:mod:`vsrq.quant.packing`) are unpacked.

    Args:
        net: The network, its parameters named as in mmagic.
        path: A local file, see :func:`read_state_dict`.
        strict: Refuse missing and unexpected names. Otherwise load those that exist on both sides.
        trust: Unpickle anything the file holds, which executes code of whoever wrote it.

    Raises:
        CheckpointError: The file cannot be read, or its weights do not fit the network.
    """
    own = net.state_dict()
    given = unpack_weights(translate_names(read_state_dict(path, trust=trust), own), net)
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    shapes = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    faults = [_listing("wrong shapes", shapes)]
    if strict or len(missing) == len(own):
        faults += [_listing("missing", missing), _listing("unexpected", unexpected)]
    if any(faults):
        raise CheckpointError(
            f"checkpoint {str(path)!r} does not fit {type(net).__name__}: {'; '.join(filter(None, faults))}. "
            "Compare the network's arguments (channels, blocks) with those the weights were trained with."
        )
    # through load_state_dict, because quantizers mirror parts of their state
    net.load_state_dict({name: given.get(name, value) for name, value in own.items()})


def save_weights(
    weights: Mapping[str, Tensor],
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float16,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write weights to a safetensors file; what was there before is replaced when the new file is complete.

    Args:
        weights: Names and values; floating point values are stored in ``dtype``.
        path: A file ending in ``.safetensors``.
        dtype: float16 halves the size; its 11 bits of precision are finer than any quantizer's grid here; the
            scales of packed weights want float32.
        metadata: Texts stored beside the weights.

    Raises:
        ConfigError: The path ends otherwise.
        CheckpointError: A value is not finite in ``dtype``, or the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ConfigError(f"weights are saved as .safetensors, got {str(path)!r}; rename the output")
    tensors = {n: (v.to(dtype) if v.is_floating_point() else v).detach().cpu().contiguous() for n, v in weights.items()}
    broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(f"{_listing('not finite', broken)}: not saved as {dtype}; the training has diverged")
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(save(tensors, metadata=dict(metadata or {})))
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error})") from error


def translate_names(given: dict[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """Translate BasicSR's names of BasicVSR to mmagic's, where the network has the latter."""
    translated = {}
    for name, value in given.items():
        new = name
        for pattern, replacement in _BASICSR_NAMES:
            new = pattern.sub(replacement, new)
        translated[new if new in own else name] = value
    return translated


def _spynet_index(match: re.Match[str]) -> str:
    # BasicSR counts convolutions and activations, mmcv's ConvModule holds both
    return f"{match[1]}.{int(match[2]) // 2}.conv."


_BASICSR_NAMES: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"^(backward|forward)_trunk\."), r"\1_resblocks."),
    (re.compile(r"^upconv([12])\."), r"upsample\1.upsample_conv."),
    (re.compile(r"^(spynet\.basic_module\.\d+\.basic_module)\.(\d+)\.(?!conv\.)"), _spynet_index),
)


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _listing(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f", ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})"
