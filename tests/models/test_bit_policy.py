"""Bits per frame, chosen by a policy, in whole networks."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tests.models.test_quantized_vsr import architecture, clip
from vsrq.deploy.torch_backend import TorchSteps
from vsrq.errors import ConfigError
from vsrq.models import BudgetLoss, FramePolicyNet, QuantizedVSR
from vsrq.models.bit_policy import BitPolicy, marked_layers
from vsrq.models.budget import decided_cost
from vsrq.models.frame_widths import frame_of
from vsrq.quant import calibrate
from vsrq.quant.recorder import recording

WIDTHS = (8, 6, 4)
MARKED = dict(bits=8, policy=True)
QUANT = dict(weight=MARKED, act=MARKED, rules=[dict(pattern="spynet.*", quantize=False)])
X = clip(4, size=32)


def build(name="basicvsr", quant=QUANT, calibrated=True, **policy):
    torch.manual_seed(0)
    model = QuantizedVSR(architecture(name), quant=quant, policy={"budget": 36, **policy}).eval()
    if calibrated:
        calibrate(model, lambda: model.upscale(X if name == "basicvsr" else clip(3, size=64)))
    return model


@pytest.fixture(scope="module")
def shared():
    return build()


@pytest.fixture
def model(shared):
    return copy.deepcopy(shared)


def decide_by_mean(model, low=0.4, high=0.6):
    """Replace the policy network: dark frames take the fewest bits, bright ones the most."""

    class Mean(torch.nn.Module):
        def forward(self, clip):
            mean = clip.mean((-3, -2, -1))
            wide, narrow = mean > high, mean < low
            return 5.0 * torch.stack([wide, ~(wide | narrow), narrow], dim=-1)

    model.policy.net = Mean()
    return model


def levels(*means, size=32):
    """A clip whose frames have given means."""
    texture = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(3)) * 0.2 - 0.1
    return torch.stack([(texture + mean).clamp(0, 1) for mean in means], dim=1)


def losses(model, x):
    target = F.interpolate(x.flatten(0, 1), scale_factor=4, mode="nearest").view(
        *x.shape[:3], *(4 * s for s in x.shape[-2:])
    )
    return model.forward_train(x, SimpleNamespace(get=lambda key: target))


@pytest.mark.parametrize("name", ["basicvsr", "basicvsr_pp"])
@torch.no_grad()
def test_every_width_equals_a_plain_network_with_nested_weights(name):
    """Weights from the high bits as float weights, activations on the same range: no policy, no switching."""
    x = X if name == "basicvsr" else clip(3, size=64)
    model = build(name)
    for bits in WIDTHS if name == "basicvsr" else (4,):
        model.policy.use = bits
        plain = QuantizedVSR(
            architecture(name), quant={**QUANT, "weight": dict(bits=32), "act": dict(bits=bits, per_part=False)}
        ).eval()
        plain.generator.load_state_dict(model.generator.state_dict(), strict=False)
        for key, layer in marked_layers(model.generator).items():
            twin = plain.generator.get_submodule(key)
            stored = layer.weight_quantizer(layer.weight)
            step = layer.weight_quantizer.scale.view(-1, 1, 1, 1)
            codes, drop = (stored / step).round().int() >> (8 - bits), 8 - bits
            twin.weight.copy_(step * (codes * 2**drop + (2**drop - 1) / 2))
            grid = layer.act_quantizer.grid_at(bits, None)
            twin.act_quantizer.scale.copy_(grid.scale)
            twin.act_quantizer.zero_point.copy_(grid.zero_point)
        assert torch.equal(model.upscale(x), plain.upscale(x))


@torch.no_grad()
def test_at_the_widest_bits_it_is_the_network_without_a_policy(model):
    plain = QuantizedVSR(architecture("basicvsr"), quant={**QUANT, "weight": {}, "act": dict(per_part=False)}).eval()
    plain.generator.load_state_dict(model.generator.state_dict(), strict=False)
    model.policy.use = 8
    assert torch.equal(model.upscale(X), plain.upscale(X))


@torch.no_grad()
def test_every_step_runs_at_the_width_of_its_frame(model):
    decide_by_mean(model)
    x = levels(0.9, 0.5, 0.1, 0.5)
    assert [choice.bits for choice in model.policy.choose(x)] == [8, 6, 4, 6]
    with recording() as log:
        model.upscale(x)
    names = {id(m): n for n, m in model.generator.named_modules()}
    seen = {}
    for call in log.calls:
        assert call.weight_bits == call.act_bits
        seen.setdefault(names[id(call.layer)], []).append(call.weight_bits)
    assert seen["forward_resblocks.main.0"] == seen["fusion"] == seen["conv_last"] == [8, 6, 4, 6]
    assert seen["backward_resblocks.main.0"] == [6, 4, 6, 8]  # it runs from the last frame to the first


def test_frames_of_steps():
    assert [frame_of("propagate", "backward_2", call, 3) for call in range(3)] == [2, 1, 0]
    assert [frame_of("propagate", "forward", call, 3) for call in range(3)] == [0, 1, 2]
    assert [frame_of("reconstruct", "", call, 3) for call in range(3)] == [0, 1, 2]
    assert [frame_of("flow", "", call, 3) for call in range(4)] == [0, 1, 1, 2]  # 0->1, 1->2, then 1->0, 2->1


@torch.no_grad()
def test_flow_layers_may_be_marked():
    model = decide_by_mean(
        build(quant={**QUANT, "rules": [dict(pattern="spynet.basic_module.[0-4].*", quantize=False)]})
    )
    with recording() as log:
        model.upscale(levels(0.9, 0.5, 0.1))
    layer = model.generator.spynet.basic_module[5].basic_module[0].conv
    assert [call.act_bits for call in log.calls if call.layer is layer] == [8, 6, 6, 4]


@torch.no_grad()
def test_clips_of_a_batch_have_their_own_bits(model):
    decide_by_mean(model)
    dark, bright = levels(0.1, 0.2, 0.1), levels(0.9, 0.5, 0.8)
    together = model.upscale(torch.cat([dark, bright]))
    assert torch.equal(together, torch.cat([model.upscale(dark), model.upscale(bright)]))


@torch.no_grad()
def test_cost_report_counts_the_widths_that_ran_and_the_policy(model):
    net = model.policy.net
    x = levels(0.9, 0.5, 0.1, 0.5)
    decide_by_mean(model)
    report, _ = model.cost(x)
    marked = set(marked_layers(model.generator))
    per_mac = (64 + 36 + 16 + 36) / 4
    for layer in report.layers:
        assert layer.bops == layer.macs * (per_mac if layer.name in marked else 1024)
    model.policy.net = net
    report, _ = model.cost(x)
    own = [layer for layer in report.layers if layer.name.startswith("bit_policy")]
    sizes = [16, 8, 4]  # of the maps after each convolution of stride 2
    macs = sum(9 * 8 * (6 if i == 0 else 8) * size**2 for i, size in enumerate(sizes)) + 8 * 3
    assert sum(layer.macs for layer in own) == 4 * macs
    assert sum(layer.bops for layer in own) == 4 * macs * 1024
    assert all(layer.calls == {"float": 4} for layer in own)
    model.policy.use = 6
    assert not [layer for layer in model.cost(x)[0].layers if layer.name.startswith("bit_policy")]


@torch.no_grad()
def test_a_recurrent_policy_remembers_and_is_counted():
    torch.manual_seed(0)
    net = FramePolicyNet(widths=3, channels=4, recurrent=True)
    still = torch.rand(1, 1, 3, 16, 16).expand(1, 3, -1, -1, -1)
    logits = net(still)[0]
    assert not torch.allclose(logits[0], logits[2])
    plain = FramePolicyNet(widths=3, channels=4)(still)[0]
    assert torch.allclose(plain[0], plain[2])
    with recording() as log:
        net(still)
    assert [(call.macs, call.weight_bits) for call in log.calls] == [(2 * 3 * 4 * 4, 32)] * 3


def test_training_draws_widths_and_the_policy_learns_from_quality_and_budget(model):
    model.train()
    torch.manual_seed(0)
    names = {name: p for name, p in model.named_parameters() if "bit_policy" in name}
    found = losses(model, X)
    assert {"loss", "loss_budget", "policy_cost", "policy_bits"} == set(found)
    for key in ("loss", "loss_budget"):
        model.zero_grad()
        found[key].backward(retain_graph=True)
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in names.items() if "head" in n)
    drawn = set()
    for _ in range(3):
        drawn |= {choice.bits for choice in model.policy.choose(X)}
    assert len(drawn) > 1
    model.eval()
    assert all(choice.gate is None for choice in model.policy.choose(X))


def test_gradients_are_the_same_with_checkpointed_steps(model):
    model.train()
    gradients = []
    for checkpoint_steps in (False, True):
        model.checkpoint_steps = checkpoint_steps
        model.zero_grad()
        torch.manual_seed(1)
        sum(value for key, value in losses(model, X).items() if "loss" in key).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(a, gradients[1][name], atol=1e-6) for name, a in gradients[0].items())


@pytest.mark.parametrize("budget", [24.0, 50.0])
def test_training_lands_on_the_budget(budget):
    """The policy alone, on clips that differ in contrast: what evaluation chooses costs the budget on average."""
    torch.manual_seed(0)
    policy = BitPolicy(marked_layers(build(calibrated=False).generator), budget=budget)
    clips = [0.5 + (torch.rand(1, 4, 3, 16, 16) - 0.5) * contrast for contrast in torch.linspace(0.1, 1, 8)]
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 320)
    for step in range(320):
        with policy.collecting() as seen:
            policy.choose(clips[step % 8])
        optimizer.zero_grad()
        policy.losses(seen)["loss_budget"].backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        costs = [float(policy.costs[choice.index]) for x in clips for choice in policy.eval().choose(x)]
    assert sum(costs) / len(costs) == pytest.approx(budget, rel=0.15)


def test_a_network_and_its_policy_train_together(model):
    torch.manual_seed(0)
    model.policy.budget = 16.0
    network = [p for name, p in model.named_parameters() if "bit_policy" not in name]
    optimizer = torch.optim.Adam([dict(params=network, lr=1e-4), dict(params=model.policy.parameters(), lr=3e-2)])
    x = levels(0.3, 0.6, size=16)
    before, _ = model.cost(x)
    for _ in range(20):
        found = losses(model.train(), x)
        optimizer.zero_grad()
        sum(value for key, value in found.items() if "loss" in key).backward()
        optimizer.step()
    after, _ = model.eval().cost(x)
    marked = set(marked_layers(model.generator))
    for report, per_mac in ((before, 64), (after, 16)):
        assert {layer.bops / layer.macs for layer in report.layers if layer.name in marked} == {per_mac}


def test_cost_of_decisions_has_the_gradient_of_the_expected_cost():
    costs = torch.tensor([64.0, 36.0, 16.0])
    logits = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.2, 0.1]], requires_grad=True)
    cost = decided_cost(logits, costs)
    assert cost == (64 + 36) / 2
    cost.backward()
    expected = logits.detach().clone().requires_grad_()
    (expected.softmax(-1) @ costs).mean().backward()
    assert torch.allclose(logits.grad, expected.grad)


def test_the_loss_is_the_squared_relative_distance_to_the_budget():
    costs, logits = torch.tensor([60.0, 20.0]), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    assert BudgetLoss()(logits, costs, 140 / 3).item() == pytest.approx(0)  # two dear frames and a cheap one
    loss = BudgetLoss(weight=2.0)(logits, costs, 40.0)
    assert loss.item() == pytest.approx(2 * (140 / 3 / 40 - 1) ** 2)
    loss.backward()
    assert (logits.grad[:, 0] > 0).all()  # descending it makes the dear width less probable


@torch.no_grad()
def test_a_checkpoint_carries_the_policy(model):
    for parameter in model.policy.net.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    other = build(calibrated=False)
    other.load_state_dict(model.state_dict())
    assert [c.index for c in other.policy.choose(X)] == [c.index for c in model.policy.choose(X)]
    assert torch.equal(other.upscale(X), model.upscale(X))


def test_activations_alone_may_be_marked():
    model = build(quant={**QUANT, "weight": dict(bits=5)}, budget=25)
    assert model.policy.costs.tolist() == [40, 30, 20]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (dict(widths=(4, 6, 8)), r"widths must be two or more descending integers from 2 to 8"),
        (dict(widths=(8, 0)), r"widths must be two or more descending integers from 2 to 8"),
        (dict(widths=(6, 4)), r"is calibrated at 8 bit, but the widest of policy\.widths=\(6, 4\) must be its bits"),
        (dict(budget=8), r"policy\.budget must lie between 16 \(all frames at 4 bit\) and 64 \(all at 8 bit\).*got 8"),
        (dict(budget=None), r"policy\.budget must lie between 16"),
        (dict(temperature=0), r"policy\.temperature must be above 0, got 0"),
        (dict(use=5), r"policy\.use must be one of the widths 8, 6, 4, or None for the policy, got 5"),
        (dict(net=dict(channels=0)), r"FramePolicyNet: channels must be an integer of 1 or more, got 0"),
        (dict(loss=dict(weight=-1)), r"BudgetLoss: weight must not be negative, got -1"),
        (dict(budgets=3), r"'budgets' in policy; did you mean 'budget'"),
    ],
)
def test_bad_settings_are_refused(policy, message):
    with pytest.raises(ConfigError, match=message):
        build(calibrated=False, **policy)


def test_combinations_that_make_no_sense_are_refused():
    net, policy = architecture("basicvsr"), dict(budget=36)
    with pytest.raises(ConfigError, match="policy needs layers whose bits it may choose"):
        QuantizedVSR(net, quant={**QUANT, "weight": {}, "act": {}}, policy=policy)
    with pytest.raises(ConfigError, match=r"choose the bits of 1[0-9] layers .*but there is none"):
        QuantizedVSR(net, quant=QUANT)
    with pytest.raises(ConfigError, match="a policy is for frame quantization"):
        QuantizedVSR(net, quant=QUANT, residual={}, policy=policy)
    with pytest.raises(ConfigError, match="EDVRNet is no recurrent network"):
        QuantizedVSR(architecture("edvr"), quant={**QUANT, "rules": []}, policy=policy)
    uneven = [*QUANT["rules"], dict(pattern="conv_last", act=dict(policy=False))]
    with pytest.raises(ConfigError, match=r"layers of a policy must cost the same at each width, but .* conv_last"):
        QuantizedVSR(net, quant={**QUANT, "rules": uneven}, policy=policy)


def test_graphs_of_chosen_bits_are_refused(model):
    with pytest.raises(ConfigError, match="a policy chooses the bits of every frame, which no graph can"):
        TorchSteps(model.generator)
