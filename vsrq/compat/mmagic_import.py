"""Import mmagic without its baggage: no compiled mmcv, no diffusion packages, today's torch and numpy."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from contextlib import ExitStack

import numpy as np

from vsrq.compat import checkpoints, mmcv_ext, placeholders
from vsrq.compat.torchvision_import import ensure_torchvision
from vsrq.errors import MissingDependencyError

INSTALL_MMAGIC = "pip install --no-deps mmagic==1.2.0"
INSTALL_MMCV = "pip install mmcv-lite==2.1.0"
INSTALL_MMENGINE = "pip install mmengine==0.10.7"

# The editors that generate images from text. Nothing else in mmagic needs them.
DIFFUSION_MODULES = (
    *(
        f"mmagic.models.editors.{name}"
        for name in (
            "animatediff",
            "controlnet",
            "disco_diffusion",
            "dreambooth",
            "fastcomposer",
            "stable_diffusion",
            "stable_diffusion_xl",
            "textual_inversion",
            "vico",
        )
    ),
    "mmagic.models.archs.attention_injection",
)
# What those editors take from their packages; newer releases have moved or dropped some of it.
_DIFFUSION_NEEDS = (
    ("diffusers.models.attention", "AdaLayerNorm"),
    ("diffusers.models.attention", "BasicTransformerBlock"),
    ("diffusers.models.unet_2d_condition", "UNet2DConditionOutput"),
    ("diffusers", "Transformer2DModel"),
    ("transformers", "CLIPTextModel"),
)
_DIFFUSERS = ("diffusers", "diffusers.models", "diffusers.pipelines", "diffusers.schedulers")
_DIFFUSION_REASON = (
    "vsrq leaves mmagic's text-to-image editors out, because the releases of diffusers and transformers they "
    "were written for are not installed. Video super-resolution does not need them."
)


def ensure_mmagic() -> None:
    """Make ``import mmagic`` work and import its models, datasets and metrics; repeated calls cost nothing.

    Everything that is installed and works is used as it is: compiled ``mmcv.ops``, diffusers, albumentations,
    lpips. Only what is missing is replaced (METHODS section 10). MMEngine's loader of local checkpoints is
    replaced by one that keeps ``weights_only=True`` and knows the classes of a Runner's checkpoint.

    Raises:
        MissingDependencyError: mmagic, mmcv or mmengine is not installed (the message is one line with the
            command), or mmcv is of another version than mmagic accepts.
    """
    if "mmagic.models.editors" in sys.modules:
        return
    for package, command in (
        ("mmengine", INSTALL_MMENGINE),
        ("mmcv", INSTALL_MMCV),
        ("mmagic", INSTALL_MMAGIC),
    ):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(f"{package} is not installed; run: {command}")
    _restore_numpy_names()
    ensure_torchvision()
    _check_mmcv_version()
    mmcv_ext.install_if_missing()
    checkpoints.register_loader()
    _import_mmagic()


def diffusion_editors_left_out() -> bool:
    """Return whether mmagic's text-to-image editors are placeholders in this process."""
    return isinstance(sys.modules.get(DIFFUSION_MODULES[0]), placeholders.PlaceholderModule)


def _restore_numpy_names() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy 1.26 still has the name, and warns
        if not hasattr(np, "bool8"):
            np.bool8 = np.bool_  # type: ignore[attr-defined]


def _check_mmcv_version() -> None:
    mmcv = importlib.import_module("mmcv")
    major, minor = (int(part) for part in mmcv.__version__.split(".")[:2])
    if (major, minor) not in ((2, 0), (2, 1)):
        raise MissingDependencyError(
            f"mmcv {mmcv.__version__} is installed, mmagic 1.2.0 accepts 2.0 and 2.1; run: {INSTALL_MMCV}"
        )


def _import_mmagic() -> None:
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # invalid escapes and deprecated names of the year 2023
        if not _diffusion_packages_work():
            placeholders.install(DIFFUSION_MODULES, _DIFFUSION_REASON)
            stack.enter_context(placeholders.lent(_DIFFUSERS, _DIFFUSION_REASON))
        for package in ("albumentations", "lpips"):
            if importlib.util.find_spec(package) is None:
                reason = f"{package} is not installed; run: pip install {package}"
                stack.enter_context(placeholders.lent([package], reason))
        for module in ("mmagic.models", "mmagic.datasets.transforms", "mmagic.evaluation"):
            importlib.import_module(module)


def _diffusion_packages_work() -> bool:
    if any(importlib.util.find_spec(package) is None for package in ("diffusers", "transformers")):
        return False
    try:
        return all(hasattr(importlib.import_module(module), name) for module, name in _DIFFUSION_NEEDS)
    except Exception:  # a broken optional package fails in its own way; vsrq only needs to know that it does
        return False
