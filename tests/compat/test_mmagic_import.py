"""Imports are tried in fresh processes: what is imported once cannot be taken back."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import vsrq

ROOT = Path(__file__).parents[2]


def run(code, *, path=()):
    """Run code in a new interpreter; returns (exit status, stdout, stderr)."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), str(ROOT)])}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=300
    )
    return result.returncode, result.stdout, result.stderr


def check(code, **kwargs):
    status, out, err = run(code, **kwargs)
    assert status == 0, err
    return out


# find_spec says None for these packages, as if they were not installed
HIDE = """
import importlib.util, sys
real = importlib.util.find_spec
hidden = {hidden!r}
importlib.util.find_spec = lambda name, *a: None if name in hidden else real(name, *a)
"""


def test_importing_vsrq_imports_nothing_heavy():
    check(
        """
        import sys
        import vsrq, vsrq.errors
        heavy = {"torch", "torchvision", "mmagic", "mmcv", "mmengine", "numpy"} & set(sys.modules)
        assert not heavy, heavy
        import vsrq.compat, vsrq.ops.deform_conv
        heavy = {"torchvision", "mmagic", "mmcv", "mmengine"} & set(sys.modules)
        assert not heavy, heavy
        """
    )


def test_registry_reaches_mmagic_without_lent_modules_staying_behind():
    check(
        """
        import sys
        import numpy as np
        from vsrq.compat import placeholders
        from vsrq.registry import MODELS, TRANSFORMS, METRICS
        assert MODELS.get("EDSRNet").__module__.startswith("mmagic.")
        assert TRANSFORMS.get("MirrorSequence") and METRICS.get("NIQE")
        assert MODELS.get("BasicVSRNet").__module__ == "vsrq.models.basicvsr"
        assert MODELS.get("mmagic.BasicVSRNet").__module__.startswith("mmagic.")
        assert np.bool8 is np.bool_
        for name in ("diffusers", "albumentations", "lpips"):
            assert not isinstance(sys.modules.get(name), placeholders.PlaceholderModule), name
        """
    )


def test_networks_import_without_the_registry_first():
    assert "BasicVSRNet" in check("from vsrq.models import BasicVSRNet; print(BasicVSRNet)")


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("mmagic", "pip install --no-deps mmagic==1.2.0"),
        ("mmcv", "pip install mmcv-lite==2.1.0"),
        ("mmengine", "pip install mmengine==0.10.7"),
    ],
)
def test_a_missing_package_gives_one_line_with_the_command(package, command):
    status, _, err = run(HIDE.format(hidden=[package]) + "import vsrq.registry")
    assert status == 1
    assert err.strip().splitlines()[-1].endswith(f"MissingDependencyError: {package} is not installed; run: {command}")


def test_another_mmcv_is_named():
    status, _, err = run("import mmcv; mmcv.__version__ = '2.2.0'; import vsrq.registry")
    assert status == 1
    assert "mmcv 2.2.0 is installed, mmagic 1.2.0 accepts 2.0 and 2.1; run: pip install" in err


def test_diffusion_editors_are_placeholders_that_say_so():
    out = check(
        HIDE.format(hidden=["diffusers"])
        + """
import vsrq.registry
from vsrq.compat.mmagic_import import diffusion_editors_left_out
from vsrq.errors import MissingDependencyError
assert diffusion_editors_left_out()
from mmagic.models.editors import StableDiffusion
try:
    StableDiffusion(vae=None)
except MissingDependencyError as error:
    print(error)
"""
    )
    assert "mmagic.models.editors.stable_diffusion.StableDiffusion cannot be built" in out
    assert "text-to-image" in out


def fake_package(folder, name, **modules):
    for module, text in modules.items():
        path = folder / name / (module.replace("_dot_", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        for parent in path.parents:
            if parent == folder:
                break
            (parent / "__init__.py").touch()


def test_installed_diffusers_of_another_release_are_left_alone(tmp_path):
    fake_package(tmp_path, "diffusers", models_dot_attention="class Attention: ...")
    fake_package(tmp_path, "transformers", empty="")
    check(
        """
        import diffusers.models.attention as before
        import vsrq.registry, sys
        from vsrq.compat.mmagic_import import diffusion_editors_left_out
        assert diffusion_editors_left_out()
        assert sys.modules["diffusers.models.attention"] is before
        assert sys.modules["diffusers"].models.attention is before
        """,
        path=[tmp_path],
    )


def test_fitting_diffusion_packages_are_used(tmp_path):
    fake_package(
        tmp_path,
        "diffusers",
        models_dot_attention="class AdaLayerNorm: ...\nclass BasicTransformerBlock: ...",
        models_dot_unet_2d_condition="class UNet2DConditionOutput: ...",
    )
    (tmp_path / "diffusers" / "__init__.py").write_text("class Transformer2DModel: ...")
    fake_package(tmp_path, "transformers", empty="")
    (tmp_path / "transformers" / "__init__.py").write_text("class CLIPTextModel: ...")
    check(
        """
        from vsrq.compat import mmagic_import
        assert mmagic_import._diffusion_packages_work()
        """,
        path=[tmp_path],
    )


def test_an_installed_compiled_mmcv_is_used(tmp_path):
    (tmp_path / "_ext.py").write_text("compiled = True")
    check(
        f"""
        import sys
        import mmcv
        mmcv.__path__.append({str(tmp_path)!r})
        from vsrq.compat import mmcv_ext
        mmcv_ext.install_if_missing()
        assert not mmcv_ext.in_use()
        from mmcv import _ext
        assert _ext.compiled
        """
    )


TORCHVISION = """
import torch
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, iou_threshold):
    return dets
READY = True
"""


def test_torchvision_imports_when_its_operators_are_missing(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("from torchvision import registrations")
    (tmp_path / "torchvision" / "registrations.py").write_text(TORCHVISION)
    status, _, err = run("import torchvision", path=[tmp_path])
    assert status == 1
    assert "torchvision::nms" in err
    check(
        """
        from vsrq.compat import ensure_torchvision
        torchvision = ensure_torchvision()
        assert torchvision.registrations.READY
        assert ensure_torchvision() is torchvision
        """,
        path=[tmp_path],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "raise RuntimeError('operator torchvision::roi_align does not exist')",
            "operator torchvision::roi_align does not exist",
        ),
        ("raise RuntimeError('wrong driver')", "wrong driver. Install the release that belongs to this torch"),
        ("import nowhere_to_be_found", "nowhere_to_be_found"),
    ],
)
def test_a_broken_torchvision_is_reported(text, message, tmp_path):
    fake_package(tmp_path, "torchvision", other="")
    (tmp_path / "torchvision" / "__init__.py").write_text(text)
    status, _, err = run("from vsrq.compat import ensure_torchvision; ensure_torchvision()", path=[tmp_path])
    assert status == 1
    assert message in err.strip().splitlines()[-1]


def test_collect_env_prints_what_is_in_use():
    out = check("import vsrq.collect_env as c; c.main()")
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    lines = {name: value.strip() for name, value in lines.items()}
    assert lines["vsrq"] == vsrq.__version__
    for package in ("torch", "mmengine", "mmagic", "numpy"):
        assert lines[package][0].isdigit()
    assert lines["mmagic is usable"] == "yes"
    assert lines["deformable convolution"].startswith(("vsrq", "compiled mmcv.ops"))
