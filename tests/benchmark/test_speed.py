import argparse
import json
import sys

import cv2
import numpy as np
import pytest

from vsrq.benchmark import machine, speed
from vsrq.benchmark.bundles import LayerMacs, record_inputs
from vsrq.benchmark.networks import looped
from vsrq.benchmark.rounds import Record, Summary
from vsrq.benchmark.speed_table import main_table, report, roles_table, trunk_share
from vsrq.errors import ConfigError

SETTINGS = dict(
    network="basicvsr",
    weights="made up",
    trained=True,
    size=[180, 320],
    frames=2,
    threads=2,
    psnr_frames=2,
    scored=True,
    memory_size=[64, 64],
    standin=True,
    machine={"CPU": "two cores", "CPU flags": "avx2 avx512_vnni"},
)
MACS = [LayerMacs("propagate", "block", "trunk", 100), LayerMacs("flow", "net", "flow", 50)]
# Two frames: propagate ran four times, its kernels took 2 of 4 ms.
PROFILE = dict(
    peak_macs=400_000.0,
    frames=2,
    steps={"propagate": (4, 0.004), "flow": (2, 0.002)},
    kernels=[("propagate", "block", "brgconv_I8", True, 2.0), ("flow", "net", "brgconv_f32", False, 1.0)],
)


def arguments(*given):
    parser = argparse.ArgumentParser()
    speed.add_arguments(parser)
    return parser.parse_args(list(given))


def as_read(value):
    """As it comes back from a file: tuples are lists."""
    return json.loads(json.dumps(value))


def made_up_record():
    record = Record(as_read(SETTINGS))
    # the machine was three times slower in the second round
    record.rounds = [{"mmagic": 8.0, "nncf": 2.0, "vsrq": 1.0}, {"mmagic": 24.0, "vsrq": 6.0}, {"mmagic": 6.0}]
    record.of("vsrq").update(
        peak_bytes=500 * 2**20,
        load_seconds=1.25,
        psnr={"calendar": {"truth": 23.0, "reference": 50.0}, "foliage": {"truth": 26.0, "reference": 52.0}},
        memory={"10": 2**28, "100": 2**28},
        steps={"propagate": [4, 0.004], "flow": [2, 0.002]},
        last_seconds=0.005,
        profile=as_read(PROFILE),
    )
    record.of("onnxruntime")["failed"] = "not installed"
    return record


def test_ratios_are_taken_within_a_round():
    record = made_up_record()
    assert record.ratios("vsrq", "mmagic") == [8.0, 4.0]
    assert record.ratios("vsrq", "nncf") == [2.0]
    assert Summary.of(record.ratios("vsrq", "mmagic")) == Summary(6.0, 4.0, 8.0, 2)
    assert Summary.of([]) is None


def test_only_what_lacks_rounds_runs_again():
    record = made_up_record()
    assert record.missing(["mmagic", "nncf", "vsrq"], "mmagic", 2) == ["nncf"]
    assert record.missing(["mmagic", "nncf", "vsrq"], "mmagic", 3) == ["nncf", "vsrq"]
    record.forget("mmagic")
    assert record.missing(["vsrq"], "mmagic", 1) == ["vsrq"]
    assert record.missing(["vsrq"], None, 2) == []


def test_a_record_is_continued_with_equal_settings_only(tmp_path):
    record, file = made_up_record(), tmp_path / "a.json"
    record.save(file)
    assert Record.resume(file, {**SETTINGS, "size": (180, 320)}) == record
    assert Record.resume(file, {**SETTINGS, "threads": 4}).rounds == []
    file.write_text("{")
    assert Record.resume(file, SETTINGS).rounds == []
    assert list(tmp_path.iterdir()) == [file]


def test_table_of_contestants():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in main_table(made_up_record()).splitlines()]
    assert [row[0] for row in rows[2:]] == ["mmagic, PyTorch fp32", "NNCF int8, OpenVINO", "vsrq int8 (W8A8), OpenVINO"]
    assert rows[-1][1:] == ["6.00 (4.00-8.00)", "2", "3.500 (1.000-6.000)", "1.2", "500", "24.50", "51.00"]


def test_scores_of_random_weights_are_not_shown():
    record = made_up_record()
    record.settings["trained"] = False
    assert "24.50" not in main_table(record)
    assert "51.00" in main_table(record)


def test_rates_by_role():
    table = roles_table(PROFILE, MACS, 2)
    # 4 calls of 100 in 2 ms: 200,000 of 400,000 per second
    assert trunk_share(PROFILE, MACS) == pytest.approx(0.5)
    trunk = next(line for line in table.splitlines() if line.startswith("| trunk"))
    assert [cell.strip() for cell in trunk.split("|")[3:5]] == ["1.0", "100%"]
    assert trunk.endswith("| 50% |")
    assert "| 0% |" in next(line for line in table.splitlines() if line.startswith("| flow"))
    assert "| 1.5 |" in table.splitlines()[-1]  # 6 ms of steps less 3 ms of kernels, over 2 frames


def test_report_says_what_was_not_measured_and_where_int8_is_slow():
    record = made_up_record()
    text = report(record, MACS)
    assert "ONNX Runtime fp32: not measured: not installed" in text
    assert "Times faster than NNCF int8, paired: vsrq int8 2.00 (2.00-2.00).\n" in text
    assert "reach 50% of it" in text
    assert "stand-in for mmcv" in text
    assert "| frames in and out, runtime | 2.0 |" in text
    assert "not to be expected faster" not in " ".join(text.split())
    record.settings["machine"]["CPU flags"] = "avx2"
    assert "8-bit networks are correct on it, but not to be expected faster" in " ".join(report(record, MACS).split())


def test_flags_are_read_from_cpuinfo(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor: 0\nflags : fpu avx2 avx_vnni\n")
    assert machine.cpu_flags(file) == ["avx2", "avx_vnni"]
    assert machine.has_int8_kernels(["avx2", "avx_vnni"])
    assert not machine.has_int8_kernels(["avx2", "avx512_bf16"])
    assert machine.cpu_flags(tmp_path / "none") == []


def test_a_run_kept_from_instructions_says_so(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert "ONEDNN_MAX_CPU_ISA" not in machine.describe()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
    assert machine.describe()["ONEDNN_MAX_CPU_ISA"] == "AVX512_CORE_VNNI"


def test_looped_clip_never_jumps():
    frames = np.arange(4)
    assert [int(frame) for frame in looped(frames, 9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [int(frame) for frame in looped(frames[:1], 3)] == [0, 0, 0]


def test_a_section_of_the_docs_is_replaced():
    first = speed.merge("", "## a\n\nold\n")
    both = speed.merge(first, "## b\n\nother\n")
    assert speed.merge(both, "## a\n\nnew\n") == "# Speed\n\n## b\n\nother\n\n## a\n\nnew\n"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--rounds", "0"], "--rounds must be 1 or more, got 0"),
        (["--psnr-frames", "-1"], "--psnr-frames must be 0 or more"),
        (["--memory-lengths", "0"], "--memory-lengths 1 or more"),
    ],
)
def test_wrong_numbers_are_refused(given, text):
    with pytest.raises(ConfigError, match=text):
        speed.main(arguments(*given))


def test_a_wrong_size_is_refused(capsys):
    with pytest.raises(SystemExit):
        arguments("--size", "180")
    assert "write HEIGHTxWIDTH such as 180x320" in capsys.readouterr().err


@pytest.fixture
def clip(tmp_path):
    """Five noisy frames whose content moves by a pixel."""
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8), (0, 0), 1.5)
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(5):
        cv2.imwrite(str(folder / f"{i}.png"), scene[i : i + 32, i : i + 48])
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_two_contestants_end_to_end_and_resumed(tmp_path, clip, capsys):
    pytest.importorskip("openvino")
    given = ["--channels", "8", "--blocks", "1", "--size", "32x48", "--frames", "3", "--rounds", "1", "--threads", "1"]
    given += ["--contestants", "mmagic", "openvino", "--clip", str(clip), "--out", str(tmp_path / "out")]
    args = arguments(*given, "--psnr-frames", "0", "--memory-lengths")
    assert speed.main(args) == 0
    text = capsys.readouterr().out
    assert "| mmagic, PyTorch fp32 | 1.00 (1.00-1.00) | 1 |" in text
    assert "| propagate_forward |" in text
    assert "Weights: random (seeded); good for speed, not for scores" in text
    file = next((tmp_path / "out").glob("*.json"))
    content = json.loads(file.read_text())
    assert set(content["rounds"][0]) == {"mmagic", "openvino"}
    known = content["contestants"]["openvino"]
    assert known["peak_bytes"] > 10 * 2**20
    assert known["steps"]["reconstruct"][0] == 3  # one call per frame
    assert known["steps"]["propagate_backward"][0] == 3
    assert sum(seconds for _, seconds in known["steps"].values()) < 3 * known["last_seconds"]
    assert any(kernel[1].startswith("forward_resblocks") for kernel in known["profile"]["kernels"])
    # nothing is left to measure: the second call only reports
    before = file.stat().st_mtime_ns
    benchmark = speed.Benchmark(args)
    assert benchmark.record.missing(["mmagic", "openvino"], "mmagic", 1) == []
    assert file.stat().st_mtime_ns == before


def test_recorded_inputs_are_those_of_every_call(tmp_path):
    torch = pytest.importorskip("torch")
    from vsrq.benchmark.bundles import Workshop, float_net
    from vsrq.benchmark.networks import Subject
    from vsrq.deploy.torch_backend import TorchSteps

    workshop = Workshop(Subject("basicvsr", 8, 1), tmp_path, "test")
    inputs = record_inputs(TorchSteps(float_net(workshop.subject)), [torch.rand(3, 3, 32, 32)])
    assert {name: len(calls) for name, calls in inputs.items()} == {
        "flow": 4,
        "propagate_backward": 3,
        "propagate_forward": 3,
        "reconstruct": 3,
    }
    assert [array.shape[1] for array in inputs["propagate_forward"][0]] == [3, 8, 2]
