"""Networks that cannot be exported as they are."""

import pytest
import torch

from tests.models.test_quantized_vsr import architecture
from vsrq.deploy.export import export
from vsrq.errors import ConfigError
from vsrq.models import QuantizedVSR

UNIFORM = dict(weight=dict(bits=4), act=dict(bits=8))
LORA = dict(rank=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(nf4={}), r"stores its weight as NF4, .*merge the network first \(tools/merge_lora\.py\)"),
        (dict(quant=UNIFORM, lora=LORA), r"is a low-rank change, .*merge the network first"),
    ],
)
def test_weights_that_no_backend_computes_with_are_refused(settings, message, tmp_path):
    net = QuantizedVSR(architecture("basicvsr"), **settings).generator.eval()
    with pytest.raises(ConfigError, match=message):
        export(net, tmp_path / "bundle", clip=torch.rand(2, 3, 64, 64), backend="torch")
    assert not (tmp_path / "bundle").exists()
