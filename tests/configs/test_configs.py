"""Every config under configs/ builds its model and names only things that exist."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DATA_SAMPLERS, HOOKS, METRICS, PARAM_SCHEDULERS, TRANSFORMS, init_default_scope
from mmengine.registry import MODELS as ROOT_MODELS

from vsrq.apis import check_config, load_config
from vsrq.engine import FreezeHook
from vsrq.models import StepwiseVSR

ROOT = Path("configs")
CONFIGS = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("*/*.py") if p.parent.name != "_base_")
FLOAT = [name for name in CONFIGS if load_config(ROOT / name).model.type == "FloatVSR"]


def listed(value):
    return value if isinstance(value, list) else [value]


def pipelines(dataset):
    """Every pipeline of a data set and of those it wraps."""
    inner = [*listed(dataset.get("datasets", [])), *listed(dataset.get("dataset", []))]
    return [*([dataset.pipeline] if "pipeline" in dataset else []), *(p for one in inner for p in pipelines(one))]


@pytest.fixture(params=CONFIGS)
def config(request):
    return load_config(ROOT / request.param)


def test_there_are_configs_of_every_network():
    official = {name.split("/")[0] for name in FLOAT}
    assert {"basicvsr", "basicvsr_pp", "edvr", "tiny"} <= official
    assert len(FLOAT) >= 13


def test_names_and_arguments_exist(config):
    check_config(config)


def test_loaders_pipelines_hooks_and_metrics_build(config):
    init_default_scope(config.default_scope)
    phases = ("train", "val", "test")
    for phase in phases:
        for loader in listed(config.get(f"{phase}_dataloader") or []):
            found = pipelines(loader.dataset)
            assert found
            for transform in [transform for pipeline in found for transform in pipeline]:
                TRANSFORMS.build(transform)
            DATA_SAMPLERS.build(loader.sampler, default_args={"dataset": range(4), "seed": 0})
        for metric in listed(config.get(f"{phase}_evaluator") or []):
            for one in listed(metric):
                METRICS.build(one)
    hooks = [*config.default_hooks.values(), *config.get("custom_hooks", [])]
    assert all(isinstance(HOOKS.build(hook), Hook) for hook in hooks)


@pytest.mark.parametrize("name", FLOAT)
def test_model_optimizer_and_schedule_build(name):
    config = load_config(ROOT / name)
    init_default_scope(config.default_scope)
    config.model.float_checkpoint = None  # may be the product of an earlier stage
    model = ROOT_MODELS.build(config.model)
    assert isinstance(model.generator, StepwiseVSR)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    assert isinstance(wrapper, OptimWrapper)
    schedulers = [PARAM_SCHEDULERS.build({**s, "optimizer": wrapper}) for s in listed(config.param_scheduler)]
    last = schedulers[-1]
    assert (sum(last.periods) if hasattr(last, "periods") else last.end) == config.train_cfg.max_iters
    hooks = [HOOKS.build(hook) for hook in config.get("custom_hooks", [])]
    for hook in (hook for hook in hooks if isinstance(hook, FreezeHook)):
        assert 0 < len(hook._select(model)) < len(list(model.parameters()))


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # Table 1 of the BasicVSR and BasicVSR++ papers; EDVR-M and EDVR-L as published.
        ("basicvsr/basicvsr_2xb4_reds4.py", 6.3),
        ("basicvsr_pp/basicvsr-pp_c64n7_8xb1-600k_reds4.py", 7.3),
        ("edvr/edvrm_8xb4-600k_reds.py", 3.3),
        ("edvr/edvrl_c128b40_8xb8-lr2e-4-600k_reds4.py", 20.6),
    ],
)
def test_parameter_counts_are_those_of_the_papers(name, millions):
    config = load_config(ROOT / name)
    with torch.device("meta"):
        model = ROOT_MODELS.build({"_scope_": "vsrq", **config.model.generator})
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_data_root_follows_the_environment(monkeypatch):
    path = ROOT / "basicvsr/basicvsr_2xb4_vimeo90k-bi.py"
    monkeypatch.delenv("VSRQ_DATA", raising=False)
    assert load_config(path).train_dataloader.dataset.data_root == "data/vimeo90k"
    monkeypatch.setenv("VSRQ_DATA", "/somewhere")
    config = load_config(path)
    assert config.train_dataloader.dataset.data_root == "/somewhere/vimeo90k"
    assert [loader.dataset.data_root for loader in config.test_dataloader] == [
        "/somewhere/vimeo90k",
        "/somewhere/Vid4",
    ]
