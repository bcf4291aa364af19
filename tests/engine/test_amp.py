import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from vsrq.engine import AmpOptimWrapper
from vsrq.errors import ConfigError

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="describes the behaviour without a GPU")


def optimizer(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


@on_cpu
def test_computes_in_bfloat16_and_updates_float32_parameters_on_the_cpu():
    torch.manual_seed(0)
    net = nn.Linear(8, 8)
    before = net.weight.detach().clone()
    wrapper = AmpOptimWrapper(optimizer=optimizer(net))
    with wrapper.optim_context(net):
        output = net(torch.randn(4, 8))
        loss = output.float().square().mean()
    assert output.dtype == torch.bfloat16
    wrapper.update_params(loss)
    assert net.weight.dtype == torch.float32
    assert not torch.equal(net.weight, before)
    restored = AmpOptimWrapper(optimizer=optimizer(net))
    restored.load_state_dict(wrapper.state_dict())


@on_cpu
def test_refuses_float16_on_the_cpu():
    with pytest.raises(ConfigError, match=r"dtype='float16', allowed is 'bfloat16'"):
        AmpOptimWrapper(optimizer=optimizer(nn.Linear(1, 1)), dtype="float16")


@on_cpu
@pytest.mark.parametrize("network", ["basicvsr", "edvr"])
def test_trains_with_the_amp_flag(network, tmp_path, monkeypatch):
    from vsrq.apis import train

    options = {"train_cfg.max_iters": 1, "val_dataloader": None, "val_evaluator": None, "val_cfg": None}
    options["experiment_name"] = f"amp_{network}"
    if network == "basicvsr":
        options["train_dataloader.dataset.num_input_frames"] = 2
    runner = train(f"configs/tiny/{network}.py", work_dir=str(tmp_path), amp=True, cfg_options=options)
    assert type(runner.optim_wrapper) is AmpOptimWrapper
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    assert DefaultScope.get_current_instance().scope_name == "vsrq"
