"""Other toolkits beside vsrq's presets: every row really quantized, what is missing or refused said below the table."""

import argparse
from pathlib import Path

import pytest

from tests.benchmark.test_residual import arguments as residual_arguments  # noqa: F401, a fixture
from vsrq.benchmark import baselines
from vsrq.benchmark.toolkits import TOOLKITS, Quantized, Toolkit
from vsrq.errors import ConfigError, MissingDependencyError


@pytest.fixture
def args(residual_arguments, tmp_path):  # noqa: F811
    parser = argparse.ArgumentParser()
    baselines.add_arguments(parser)
    given = vars(residual_arguments)
    options = ["--clips", "calendar", "--frames", "3", "--crop", "128", "--work-dir", str(tmp_path / "work")]
    options += ["--calibration-frames", "3", "--calibration-crop", "96", "--methods", "MSE"]
    for name in ("config", "checkpoint", "flow_checkpoint"):
        options += [f"--{name.replace('_', '-')}", given[name]]
    return parser.parse_args(options)


@pytest.fixture
def all_missing(monkeypatch):
    monkeypatch.setattr(Toolkit, "missing", lambda self: list(self.packages))


def cells(table):
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    return {(line[0], int(line[1])): line[2:] for line in lines[1:]}


def test_presets_are_quantized_and_kept(args, capsys, monkeypatch):
    args.methods, args.bits = list(baselines.PRESETS), [8, 4]
    assert baselines.main(args) == 0
    table = capsys.readouterr().out
    found = cells(table)
    float_row = found.pop(("float", 32))
    assert float_row[2:4] == ["-", "-"]
    assert float_row[-1] == "0.0 %"
    assert list(found) == [(name, bits) for name in baselines.PRESETS for bits in (8, 4)]
    to_float = {method: float(row[3]) for method, row in found.items()}
    for name in baselines.PRESETS:
        assert to_float[name, 8] > to_float[name, 4] + 1
    for name in ("MinMax", "MSE"):  # nothing is cut off at 8 bit: rounding alone would make 24 dB
        assert to_float[name, 8] > to_float[name, 4] + 6
    assert 40 < to_float["MSE", 8] < 100
    for row in found.values():
        assert float(row[2]) == pytest.approx(float(row[1]) - float(float_row[1]), abs=0.011)
        assert 95 < float(row[-1].removesuffix(" %")) <= 100
    monkeypatch.setattr(baselines.Contest, "_row", lambda *args: pytest.fail("a kept row was computed again"))
    baselines.main(args)
    assert capsys.readouterr().out == table == (Path(args.work_dir) / "baselines.md").read_text()


@pytest.mark.parametrize("name", list(TOOLKITS))
def test_toolkits_quantize_the_network(args, capsys, name):
    for package in TOOLKITS[name].packages:
        pytest.importorskip(package)
    args.methods = [name]
    assert baselines.main(args) == 0
    table = capsys.readouterr().out
    row = cells(table)[name, 8]
    assert 40 < float(row[3]) < 100  # near the float output, and not the float output
    assert float(row[-1].removesuffix(" %")) > 95
    version = " ".join(next(iter(TOOLKITS[name].versions().items())))
    assert f"- {name} ({version}" in table


def test_what_is_not_installed_is_left_out_with_the_command(args, capsys, all_missing):
    args.methods = ["MSE", *TOOLKITS]
    assert baselines.main(args) == 0
    table = capsys.readouterr().out
    assert list(cells(table)) == [("float", 32), ("MSE", 8)]
    for name, toolkit in TOOLKITS.items():
        packages = ", ".join(toolkit.packages)
        assert f'- {name}: {packages} not installed: pip install "vsrq[baselines]"' in table.splitlines()
        with pytest.raises(MissingDependencyError, match=f"{name} needs {packages}, not installed: pip install"):
            toolkit.quantize(None, [], None)


def test_a_toolkit_that_cannot_take_the_network_says_why(args, capsys, monkeypatch):
    def refuse(*args):
        raise RuntimeError("no kernel for this\nand a long story")

    monkeypatch.setattr(Toolkit, "missing", lambda self: [])
    monkeypatch.setattr(Toolkit, "versions", lambda self: dict.fromkeys(self.packages, "1.0"))
    monkeypatch.setattr(Toolkit, "quantize", refuse)
    args.methods = ["torchao", "MSE"]
    assert baselines.main(args) == 0
    table = capsys.readouterr().out
    assert list(cells(table)) == [("float", 32), ("MSE", 8)]
    assert "- torchao: cannot take the network (RuntimeError: no kernel for this)" in table.splitlines()


def test_unknown_layers_are_not_counted(args, capsys, monkeypatch):
    monkeypatch.setattr(Toolkit, "missing", lambda self: [])
    monkeypatch.setattr(Toolkit, "versions", lambda self: dict.fromkeys(self.packages, "1.0"))
    monkeypatch.setattr(
        Toolkit,
        "quantize",
        lambda self, net, clips, folder: Quantized(lambda clip: net.upscale(clip[None])[0] + 0.01, None),
    )
    args.methods = ["Brevitas"]
    baselines.main(args)
    row = cells(capsys.readouterr().out)["Brevitas", 8]
    assert row[-1] == "-"
    assert float(row[3]) == pytest.approx(40, abs=0.01)  # an error of 0.01 everywhere


def test_share_of_the_multiplications():
    assert baselines.share(frozenset(["a", "elsewhere"]), {"a": 30, "b": 10}) == 0.75
    assert baselines.share(None, {"a": 30}) is None


def test_no_time_no_rows(args, capsys):
    args.time_limit = 0.0
    baselines.main(args)
    assert cells(capsys.readouterr().out) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(methods=["torch_ao"]), "unknown method 'torch_ao'; did you mean 'torchao'"),
        (dict(bits=[1]), "--bits must be 2 to 8, got 1"),
        (dict(frames=1), "--frames must be 2 or more"),
        (dict(clips=["calender"]), "unknown clip 'calender'; did you mean 'calendar'"),
    ],
)
def test_wrong_arguments_are_refused(args, change, message):
    vars(args).update(change)
    with pytest.raises(ConfigError, match=message):
        baselines.main(args)
