import pytest
import torch
from torch import nn

from vsrq.errors import CheckpointError, ConfigError
from vsrq.models import load_weights, save_weights
from vsrq.quant import calibrate, prepare
from vsrq.quant.packing import CODES, pack_bits, pack_weights, unpack_bits, unpack_weights
from vsrq.residual import convert_residual


def quantized(bits=4, **weight):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 3, padding=1))
    prepare(net, weight=dict(bits=bits, **weight), act=dict(bits=8))
    x = torch.randn(2, 3, 8, 8)
    calibrate(net, lambda: net(x))
    return net, x


@pytest.mark.parametrize(("bits", "size"), [(2, 3), (3, 6), (4, 6), (5, 11), (8, 11)])
def test_codes_survive_and_take_as_few_bytes_as_said(bits, size):
    codes = torch.randint(0, 2**bits, (11,), generator=torch.Generator().manual_seed(bits))
    packed = pack_bits(codes, bits)
    assert (packed.dtype, len(packed)) == (torch.uint8, size)
    assert torch.equal(unpack_bits(packed, bits, codes.shape), codes.int())


@pytest.mark.parametrize(
    "weight",
    [
        {},
        dict(axis=None),
        dict(symmetric=False),
        dict(type="LSQ", axis=0),
        dict(signed=False),
        dict(power_of_two=True),
    ],
)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_packed_network_computes_the_same_bit_for_bit(tmp_path, bits, weight):
    net, x = quantized(bits, **weight)
    if net[0].weight_quantizer.factor is not None:
        with torch.no_grad():
            net[0].weight_quantizer.factor.mul_(0.9)
    expected = net(x)
    file = tmp_path / "packed.safetensors"
    save_weights(pack_weights(net), file, dtype=torch.float32)
    other, _ = quantized(bits, **weight)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    load_weights(other, file)
    assert torch.equal(other(x), expected)
    assert not torch.equal(other[0].weight, net[0].weight) or bits == 8  # the grid's, not the float ones behind it


def test_the_packed_state_has_codes_in_the_place_of_weights():
    net, _ = quantized()
    state = pack_weights(net)
    assert state.keys() == {*net.state_dict(), f"0{CODES}", f"2{CODES}"} - {"0.weight", "2.weight"}
    assert state[f"0{CODES}"].numel() == (3 * 5 * 9 + 1) // 2


def test_layers_left_float_keep_their_weights():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    prepare(net, rules=[dict(pattern="1", quantize=False)])
    x = torch.randn(1, 3, 4, 4)
    calibrate(net, lambda: net(x))
    assert torch.equal(pack_weights(net)["1.weight"], net[1].weight)


def test_a_float_network_has_nothing_to_pack():
    with pytest.raises(ConfigError, match="Conv2d has no layer with a quantized weight"):
        pack_weights(nn.Conv2d(3, 3, 1))


def test_a_residual_layer_has_two_sets_of_codes():
    net, _ = quantized()
    convert_residual(net)
    with pytest.raises(ConfigError, match="layer 0 quantizes its weight once for key frames and once for residuals"):
        pack_weights(net)


def test_codes_for_a_network_that_is_not_quantized():
    net, _ = quantized()
    with pytest.raises(CheckpointError, match=r"0\.weight_codes: the network has no quantized layer '0'"):
        unpack_weights({f"0{CODES}": pack_weights(net)[f"0{CODES}"]}, nn.Sequential(nn.Conv2d(3, 5, 3)))


def test_codes_of_another_width_or_without_their_scales():
    net, _ = quantized(4)
    with pytest.raises(CheckpointError, match=r"weight_codes does not fit .* packed bytes instead of 135"):
        unpack_weights(pack_weights(net), quantized(8)[0])
    state = pack_weights(net)
    del state["0.weight_quantizer.scale"]
    with pytest.raises(CheckpointError, match=r"0\.weight_codes does not fit the network's quantizer"):
        unpack_weights(state, net)
