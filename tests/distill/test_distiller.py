import copy
from types import SimpleNamespace

import pytest
import torch

from vsrq.distill import watch
from vsrq.errors import ConfigError
from vsrq.models import BasicVSRNet, QuantizedVSR
from vsrq.quant import calibrate

OUTPUT = [dict(type="OutputDistillation")]


def architecture(channels=4):
    generator = dict(type="BasicVSRNet", mid_channels=channels, num_blocks=1)
    return dict(type="FloatVSR", generator=generator, pixel_loss=dict(type="CharbonnierLoss"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "basicvsr.pth"
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def clip():
    return torch.rand(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def student(weights, clip, **settings):
    rules = [dict(pattern="spynet.*", quantize=False)]
    recipe = dict(weight=dict(type="LSQ", bits=4), act=dict(type="LSQ", bits=4), rules=rules)
    model = QuantizedVSR(architecture(), quant=recipe, float_checkpoint=weights, **settings)
    calibrate(model, lambda: model.upscale(clip))
    return model.train()


def losses_of(model, clip):
    target = torch.zeros(1, 3, 3, 128, 128)
    return model.forward_train(clip, SimpleNamespace(get=lambda key: target))


def test_all_places_are_compared_and_teach_the_student(weights, clip):
    losses = [
        *OUTPUT,
        dict(type="StateDistillation"),
        dict(type="FeatureDistillation", layers=["conv_hr", "*_resblocks.main.2.0"]),
    ]
    model = student(weights, clip, distill=dict(losses=losses))
    found = losses_of(model, clip)
    names = {f"loss_{kind}Distillation_float" for kind in ("Output", "State", "Feature")}
    assert found.keys() == {"loss", *names}
    assert all(found[name].item() > 0 for name in names)
    sum(found[name] for name in names).backward()
    trunk = model.generator.forward_resblocks.main[2][0].conv1
    assert trunk.weight.grad.abs().sum() > 0
    assert trunk.act_quantizer.factor.grad.abs().sum() > 0


def test_a_float_student_equals_its_teacher(weights, clip):
    losses = [*OUTPUT, dict(type="StateDistillation"), dict(type="FlowDistillation")]
    quant = dict(weight=dict(bits=32), act=dict(bits=32))
    model = QuantizedVSR(architecture(), quant=quant, float_checkpoint=weights, distill=dict(losses=losses))
    found = losses_of(model, clip)
    assert all(value.item() < 1e-5 for name, value in found.items() if name != "loss")


def test_flow_of_another_teacher_trains_the_flow_network(weights, clip):
    model = student(weights, clip, distill=dict(losses=[dict(type="FlowDistillation")]))
    with torch.no_grad():
        for parameter in model.distiller.teachers["float"].generator.spynet.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    losses_of(model, clip)["loss_FlowDistillation_float"].backward()
    touched = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"spynet"}


def test_teachers_are_in_neither_checkpoint_nor_parameters(weights, clip):
    plain, taught = student(weights, clip), student(weights, clip, distill=dict(losses=OUTPUT))
    assert taught.state_dict().keys() == plain.state_dict().keys()
    assert len(list(taught.parameters())) == len(list(plain.parameters()))
    teacher = taught.distiller.teachers["float"]
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    before = copy.deepcopy(teacher.state_dict())
    sum(losses_of(taught.train(), clip).values()).backward()
    assert not teacher.training
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert copy.deepcopy(taught).distiller is taught.distiller


def test_two_teachers_take_turns(weights, clip, tmp_path):
    eight = QuantizedVSR(architecture(), quant=dict(rules=[dict(pattern="spynet.*", quantize=False)]))
    eight.generator.load_state_dict(torch.load(weights, weights_only=True), strict=False)
    calibrate(eight, lambda: eight.upscale(clip))
    torch.save({"state_dict": eight.state_dict()}, tmp_path / "ptq.pth")
    teachers = dict(
        float=dict(),
        eight=dict(quant=dict(rules=[dict(pattern="spynet.*", quantize=False)]), checkpoint=str(tmp_path / "ptq.pth")),
    )
    losses = [
        dict(type="OutputDistillation", teacher="eight", schedule=[(0.0, 1.0), (0.5, 0.0)]),
        dict(type="OutputDistillation", schedule=[(0.0, 0.0), (0.5, 1.0)]),
    ]
    model = student(weights, clip, distill=dict(teachers=teachers, losses=losses))
    with pytest.raises(ConfigError, match="add dict\\(type='DistillationHook'\\)"):
        losses_of(model, clip)
    seen = {}
    for progress in (0.0, 0.25, 0.9):
        model.distiller.progress = progress
        seen[progress] = {k: v.item() for k, v in losses_of(model, clip).items() if k != "loss"}
    assert seen[0.0].keys() == {"loss_OutputDistillation_eight"}
    assert seen[0.9].keys() == {"loss_OutputDistillation_float"}
    assert seen[0.25]["loss_OutputDistillation_eight"] == pytest.approx(
        seen[0.0]["loss_OutputDistillation_eight"] / 2, rel=1e-4
    )


def test_distillation_and_gradient_checkpointing_go_together(weights, clip):
    distill = dict(losses=[dict(type="StateDistillation"), dict(type="FeatureDistillation", layers=["conv_hr"])])
    results = []
    for checkpoint_steps in (False, True):
        model = student(weights, clip, distill=distill, checkpoint_steps=checkpoint_steps)
        sum(losses_of(model, clip).values()).backward()
        results.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        assert not vars(model.generator).keys() & {"propagate", "flow"}
    assert results[0].keys() == results[1].keys()
    for name in results[0]:
        assert torch.allclose(results[0][name], results[1][name], rtol=1e-3, atol=1e-6), name


def test_watching_leaves_no_trace_even_after_an_error():
    net = BasicVSRNet(mid_channels=4, num_blocks=1)
    with pytest.raises(ZeroDivisionError), watch(net, ["flow", "output", "conv_hr"]):
        raise ZeroDivisionError
    assert "flow" not in vars(net)
    assert not net._forward_hooks
    assert not net.conv_hr._forward_hooks


def wide(tmp_path):
    path = tmp_path / "wide.pth"
    torch.save(BasicVSRNet(mid_channels=6, num_blocks=1).state_dict(), path)
    return dict(architecture=architecture(6), checkpoint=str(path))


def test_a_teacher_that_does_not_match_is_named(weights, clip, tmp_path):
    distill = dict(teachers=dict(wide=wide(tmp_path)), losses=[dict(type="StateDistillation", teacher="wide")])
    model = student(weights, clip, distill=distill)
    with pytest.raises(ConfigError, match=r"teacher 'wide' does not match at 'propagate': it has \(1, 6, 32, 32\)"):
        losses_of(model, clip)
    distill = dict(teachers=dict(wide=wide(tmp_path)), losses=[dict(type="OutputDistillation", teacher="wide")])
    assert "loss_OutputDistillation_wide" in losses_of(student(weights, clip, distill=distill), clip)


@pytest.mark.parametrize(
    ("distill", "message"),
    [
        (dict(losses=[]), "distill needs `losses`"),
        (dict(losses=[dict(type="OutputDistillation", teacher="flot")]), "no teacher 'flot'; did you mean 'float'"),
        (dict(losses=[dict(type="CharbonnierLoss")]), "CharbonnierLoss is no DistillationLoss"),
        (dict(losses=OUTPUT, teacher={}), "unknown key 'teacher' in distill; did you mean 'teachers'"),
        (dict(losses=OUTPUT, teachers=dict(float={}, idle={})), "no loss uses teacher 'idle'"),
        (dict(losses=OUTPUT, teachers=dict(float=dict(quant={}))), "teacher 'float' has no weights"),
        (dict(losses=OUTPUT, teachers=dict(float=dict(path="x"))), "unknown key 'path' in distill.teachers.float"),
    ],
)
def test_wrong_settings_are_refused(distill, message, weights, clip):
    with pytest.raises(ConfigError, match=message):
        student(weights, clip, distill=distill)


@pytest.mark.parametrize(
    ("layers", "message"),
    [(["conv_h"], "has no module 'conv_h' to compare"), (["align"], "has no step 'align'")],
)
def test_places_that_do_not_exist_are_refused(layers, message, weights, clip):
    model = student(weights, clip, distill=dict(losses=[dict(type="FeatureDistillation", layers=layers)]))
    with pytest.raises(ConfigError, match=message):
        losses_of(model, clip)
