"""Finding typos in a config before anything is built or written."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from vsrq.engine import registries
from vsrq.errors import ConfigError, did_you_mean
from vsrq.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS, TRANSFORMS

_RUNNER_KEYS = {name for name in inspect.signature(Runner.__init__).parameters if name not in ("self", "cfg")} | {
    "auto_scale_lr",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "sync_bn",
    "activation_checkpointing",
}
# Read by the Runner before the dataloader gets the rest.
_LOADER_EXTRAS = {"num_batch_per_epoch", "disable_subprocess_warning"}
# A config may define any helper variable; one that is this close to a setting is a typo of it.
_TYPO = 0.88
# The same for an argument of a class that passes **kwargs on to somewhere unknown.
_TYPO_OF_ARGUMENT = 0.8
_ALWAYS = {"type", "_scope_"}
# Parts of a model that are configs of their own.
_MODEL_PARTS = ("generator", "pixel_loss", "data_preprocessor", "architecture")


def check_config(config: Mapping[str, Any]) -> None:
    """Check names of settings, types and arguments of everything the Runner builds.

    Raises:
        ConfigError: For the first unknown name, with its place in the config and the nearest known one.
    """
    for key in config:
        near = difflib.get_close_matches(key, _RUNNER_KEYS, n=1, cutoff=_TYPO)
        if key not in _RUNNER_KEYS and near:
            raise ConfigError(f"unknown setting {key!r}; did you mean {near[0]!r}?")
    _check_model(config.get("model"), "model")
    for phase in ("train", "val", "test"):
        for place, loader in _items(config.get(f"{phase}_dataloader"), f"{phase}_dataloader"):
            _check_loader(loader, place)
        _check_part(config.get(f"{phase}_cfg"), LOOPS, f"{phase}_cfg")
        _check_metrics(config.get(f"{phase}_evaluator"), f"{phase}_evaluator")
    for name, hook in (config.get("default_hooks") or {}).items():
        _check_part(hook, HOOKS, f"default_hooks.{name}", {"priority"})
    for place, hook in _items(config.get("custom_hooks"), "custom_hooks"):
        _check_part(hook, HOOKS, place, {"priority"})
    wrapper = config.get("optim_wrapper")
    extras = {"constructor", "paramwise_cfg", "optimizer"}
    _check_part(wrapper, registries.OPTIM_WRAPPERS, "optim_wrapper", extras, default="OptimWrapper")
    if wrapper:
        _check_part(wrapper.get("optimizer"), registries.OPTIMIZERS, "optim_wrapper.optimizer")
    for place, scheduler in _items(config.get("param_scheduler"), "param_scheduler"):
        _check_part(scheduler, registries.PARAM_SCHEDULERS, place, {"convert_to_iter_based"})


def _items(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _items(item, f"{place}[{i}]")
    elif value is not None:
        yield place, value


def _check_model(config: Any, place: str) -> None:
    _check_part(config, MODELS, place)
    if isinstance(config, Mapping):
        for part in _MODEL_PARTS:
            _check_model(config.get(part), f"{place}.{part}")


def _check_loader(loader: Any, place: str) -> None:
    if not isinstance(loader, Mapping):
        return
    allowed = set(inspect.signature(DataLoader.__init__).parameters) | _LOADER_EXTRAS
    _check_names(loader, allowed, place, strict=True)
    _check_part(loader.get("sampler"), registries.DATA_SAMPLERS, f"{place}.sampler")
    _check_dataset(loader.get("dataset"), f"{place}.dataset")


def _check_dataset(dataset: Any, place: str) -> None:
    _check_part(dataset, DATASETS, place)
    if not isinstance(dataset, Mapping):
        return
    for where, transform in _items(dataset.get("pipeline"), f"{place}.pipeline"):
        _check_part(transform, TRANSFORMS, where)
    for key in ("dataset", "datasets"):  # what ConcatDataset and RepeatDataset wrap
        for where, inner in _items(dataset.get(key), f"{place}.{key}"):
            _check_dataset(inner, where)


def _check_metrics(evaluator: Any, place: str) -> None:
    for where, item in _items(evaluator, place):
        if isinstance(item, Mapping) and "metrics" in item:
            _check_metrics(item["metrics"], f"{where}.metrics")
        else:
            _check_part(item, METRICS, where)


def _check_part(
    config: Any, registry: Registry, place: str, extras: set[str] | None = None, *, default: str | None = None
) -> None:
    """Check one dict that names its class with ``type``."""
    kind = config.get("type", default) if isinstance(config, Mapping) else None
    if kind is None:
        return
    target = registry.get(kind) if isinstance(kind, str) else kind
    if target is None:
        hint = did_you_mean(kind, _names(registry))
        raise ConfigError(f"{place}.type: {kind!r} is not a registered {registry.name}{hint or '.'}")
    names, strict = _arguments(target)
    _check_names(config, names | (extras or set()), place, strict=strict)


def _check_names(given: Mapping[str, Any], allowed: set[str], place: str, *, strict: bool) -> None:
    for key in given:
        if key in allowed | _ALWAYS:
            continue
        hint = did_you_mean(key, allowed)
        if strict or difflib.get_close_matches(key, allowed, n=1, cutoff=_TYPO_OF_ARGUMENT):
            raise ConfigError(f"unknown key {key!r} in {place}{hint or '.'} Allowed: {', '.join(sorted(allowed))}.")


def _names(registry: Registry) -> set[str]:
    names: set[str] = set()
    node: Registry | None = registry
    while node is not None:
        names |= set(node.module_dict)
        node = node.parent
    return names


def _arguments(target: Any) -> tuple[set[str], bool]:
    """Return the arguments a class takes, and whether that list is certain.

    ``**kwargs`` usually go to the parent class, so the parents' arguments are collected too; but they may
    go elsewhere, so then only what looks like a typo counts as wrong.
    """
    if not inspect.isclass(target):
        return _named(inspect.signature(target))
    names: set[str] = set()
    strict = True
    for cls in target.__mro__:
        init = vars(cls).get("__init__")
        if init is None or cls is object:
            continue
        own, closed = _named(inspect.signature(init))
        names |= own
        if closed:
            return names, strict
        strict = False
    return names, False


def _named(signature: inspect.Signature) -> tuple[set[str], bool]:
    kinds = inspect.Parameter
    names = {
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY) and name != "self"
    }
    return names, not any(p.kind is kinds.VAR_KEYWORD for p in signature.parameters.values())
