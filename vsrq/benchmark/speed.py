"""Speed of a network end to end: mmagic's PyTorch, ONNX Runtime, OpenVINO, NNCF int8 and vsrq int8, in paired rounds.

Every contestant has a process of its own, which stays alive between the rounds. What has been measured is kept in
``--out`` as it comes in: the same command goes on where an earlier one stopped.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from vsrq.benchmark import machine
from vsrq.benchmark.bundles import LayerMacs, Workshop, code_version, require
from vsrq.benchmark.contestants import CONTESTANTS, OURS, REFERENCE
from vsrq.benchmark.networks import GENERATORS, Subject, source_clip
from vsrq.benchmark.rounds import Record
from vsrq.benchmark.speed_table import report
from vsrq.benchmark.worker import Worker, WorkerError
from vsrq.compat import mmcv_ext
from vsrq.datasets.clips import load_clip, to_uint8
from vsrq.errors import ConfigError, MissingDependencyError, OutputError

_WARM_UP = 2  # frames
_PROFILED = 3
_CLIPS = ("calendar", "foliage")
_DOCS = Path("docs/speed.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--network", choices=sorted(GENERATORS), default="basicvsr")
    add("--checkpoint", metavar="FILE", help="float weights; default: official ones for basicvsr, random ones else")
    add("--channels", type=int, help="instead of the network's own, for a quick look")
    add("--blocks", type=int, help="residual blocks instead of the network's own")
    add("--size", type=_size, default=(180, 320), metavar="HxW", help="of the low-resolution frames (default 180x320)")
    add("--frames", type=int, default=10, help="of a run (default 10)")
    add("--rounds", type=int, default=5, help="paired runs of every contestant (default 5)")
    add("--threads", type=int, default=2)
    add("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS), metavar="NAME",
        help=f"of {', '.join(CONTESTANTS)} (default: all)")  # fmt: skip
    add("--clip", metavar="PATH", help="video or folder of low-resolution frames; default: a street scene, fetched")
    add("--psnr-frames", type=int, default=8, help="scored of each Vid4 clip in $VSRQ_DATA; 0 scores none (default 8)")
    add("--memory-lengths", type=int, nargs="*", default=[10, 100, 1000], help="clip lengths for peak memory")
    add("--memory-size", type=_size, default=(64, 64), metavar="HxW", help="of the frames then (default 64x64)")
    add("--memory-seconds", type=float, default=300, help="leave out a length that would take longer (default 300)")
    add("--budget", type=float, default=60, metavar="MINUTES", help="start nothing new after it (default 60)")
    add("--out", type=Path, default=Path("work_dirs/benchmark/speed"), help="folder of results and graphs")
    add("--fresh", action="store_true", help="forget what was measured before")
    add("--write-docs", action="store_true", help=f"put the report of this network into {_DOCS}")


def main(args: argparse.Namespace) -> int:
    """Measure what is missing, then print and write the report."""
    _check(args)
    benchmark = Benchmark(args)
    try:
        benchmark.measure()
    finally:
        benchmark.close()
    text = benchmark.report()
    sys.stdout.write(text)
    _write(benchmark.file.with_suffix(".md"), text)
    if args.write_docs:
        _write(_DOCS, merge(_DOCS.read_text("utf-8") if _DOCS.is_file() else "", text))
    return 0


class Benchmark:
    """One call of the command.

    Args:
        args: Its arguments.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.subject = Subject(args.network, args.channels, args.blocks, args.checkpoint, args.clip)
        self.workshop = Workshop(self.subject, args.out, code_version())
        self.truth = _vid4() if args.psnr_frames else {}
        settings = dict(
            network=args.network,
            generator=self.subject.generator,
            weights=self.subject.weights,
            trained=self.subject.trained,
            clip=args.clip,
            size=args.size,
            frames=args.frames,
            threads=args.threads,
            psnr_frames=args.psnr_frames,
            scored=bool(self.truth),
            memory_size=args.memory_size,
            standin=mmcv_ext.in_use(),
            machine=machine.describe(),
        )
        weights = Path(args.checkpoint).stem if args.checkpoint else "default"
        own = "" if self.subject.full_size else f"-c{args.channels}b{args.blocks}"
        size = "x".join(map(str, args.size))
        name = f"{args.network}{own}-{weights}-{size}-f{args.frames}-t{args.threads}"
        self.file = args.out / f"{name}.json"
        self.record = Record(settings) if args.fresh else Record.resume(self.file, settings)
        self.macs: list[LayerMacs] = []
        self._deadline = time.monotonic() + 60 * args.budget
        self._workers: dict[str, Worker] = {}
        self._stack = ExitStack()

    def close(self) -> None:
        """End all processes."""
        self._stack.close()

    def measure(self) -> None:
        """Measure all that is missing and that the budget allows."""
        names = self._ready()
        self._load(names)
        self._rounds()
        self._each("profile", self._profile, lambda name: CONTESTANTS[name].needs.startswith("openvino"))
        if self.truth:
            self._each("psnr", self._score, lambda name: True)
        for length in sorted(self.args.memory_lengths):
            for name in (REFERENCE, OURS):
                if name in self._workers:
                    self._memory(name, length)

    def report(self) -> str:
        """Return the report on everything that has been measured."""
        return report(self.record, self.macs)

    def _ready(self) -> list[str]:
        """Make weights and graphs, and return the contestants that can take part.

        It happens in a process of its own: exporting takes memory that contestants must not be charged with.
        """
        ready = []
        with Worker(self.workshop, "preparation", self.args.threads) as maker:
            for name in [name for name in CONTESTANTS if name in self.args.contestants]:
                self._renew(name)
                needs = CONTESTANTS[name].needs
                try:
                    require(needs)
                    if not self.workshop.has(needs):
                        _say(f"making {needs}")
                        maker.ask("prepare", kind=needs)
                    ready.append(name)
                except (MissingDependencyError, WorkerError) as error:
                    self._fail(name, error)
            try:
                maker.ask("prepare", kind="weights")
                self.macs = maker.ask("macs", height=self.args.size[0], width=self.args.size[1])
            except WorkerError as error:
                _say(f"rates are left out, for multiplications could not be counted: {error}")
        return ready

    def _renew(self, name: str) -> None:
        """Forget what was measured of a contestant with other code; mmagic's does not change with vsrq's."""
        version = self.workshop.version if CONTESTANTS[name].is_bundle else ""
        known = self.record.of(name)
        known.pop("failed", None)
        if known.get("version", version) != version:
            _say(f"{name}: the code has changed since it was measured; measuring again")
            self.record.forget(name)
        self.record.of(name)["version"] = version

    def _load(self, names: list[str]) -> None:
        self._frames = source_clip(self.subject, *self.args.size)[: max(self.args.frames, _WARM_UP)]
        for name in names:
            _say(f"{name}: loading")
            self._start(name)

    def _start(self, name: str) -> None:
        worker = self._stack.enter_context(Worker(self.workshop, name, self.args.threads))
        try:
            loaded = worker.ask("load", frames=self._frames[:_WARM_UP])
        except WorkerError as error:
            self._fail(name, error)
            return
        self._workers[name] = worker
        if CONTESTANTS[name].is_bundle:
            self.record.of(name).update(loaded)

    def _rounds(self) -> None:
        while self._workers:
            reference = REFERENCE if REFERENCE in self._workers else None
            names = self.record.missing(self._workers, reference, self.args.rounds)
            if not names:
                return
            if self._late("more rounds") and self.record.rounds:
                return
            names = [name for name in self._workers if name in names or name == reference]
            entry: dict[str, float] = {}
            for name in names:
                try:
                    found = self._workers[name].ask("run", frames=self._frames, count=self.args.frames)
                except WorkerError as error:
                    self._fail(name, error)
                    continue
                entry[name] = found["seconds"] / self.args.frames
                known = self.record.of(name)
                known["peak_bytes"] = max(known.get("peak_bytes", 0), found["peak_bytes"])
                known["steps"], known["last_seconds"] = found["steps"], entry[name]
                _say(f"round {len(self.record.rounds) + 1}: {name}: {entry[name]:.3f} s/frame")
            if entry:
                self.record.rounds.append(entry)
                self.record.save(self.file)

    def _each(self, key: str, run: Callable[[str], Any], takes_part: Callable[[str], bool]) -> None:
        """Have every contestant do something whose result is kept under a key, unless it is there."""
        for name in list(self._workers):
            if not takes_part(name) or key in self.record.of(name) or self._late(f"{key} of {name}"):
                continue
            try:
                self.record.of(name)[key] = run(name)
            except WorkerError as error:
                self._fail(name, error)
                continue
            self.record.save(self.file)
            _say(f"{name}: {key} done")

    def _profile(self, name: str) -> dict[str, Any]:
        found = self._workers[name].ask("profile", frames=self._frames, count=_PROFILED)
        return {**found, "frames": _PROFILED}

    def _score(self, name: str) -> dict[str, Any]:
        scores = {}
        for clip, (low_folder, high_folder) in self.truth.items():
            low, high = (_frames(folder)[: self.args.psnr_frames] for folder in (low_folder, high_folder))
            kept = self.workshop.folder / f"{REFERENCE}-{clip}-{self.args.psnr_frames}.npy"
            write = name == REFERENCE
            scores[clip] = self._workers[name].ask("score", low=low, high=high, reference=kept, write=write)
        return scores

    def _memory(self, name: str, length: int) -> None:
        memory = self.record.of(name).setdefault("memory", {})
        if str(length) in memory or self._late(f"memory of {name}"):
            return
        seconds = self.record.seconds(name)
        (height, width), (small_height, small_width) = self.args.size, self.args.memory_size
        expected = seconds[-1] * length * small_height * small_width / (height * width) if seconds else 0.0
        if expected > self.args.memory_seconds:
            memory[str(length)] = f"not run, about {expected / 60:.0f} minutes"
        else:
            frames = source_clip(self.subject, small_height, small_width)[: min(length, 100)]
            try:
                # a process of its own: nothing is left in it of larger frames and longer clips
                with Worker(self.workshop, name, self.args.threads) as worker:
                    worker.ask("load", frames=frames[:_WARM_UP])
                    memory[str(length)] = worker.ask("run", frames=frames, count=length)["peak_bytes"]
            except WorkerError as error:
                memory[str(length)] = f"failed: {error}"
        self.record.save(self.file)
        _say(f"{name}: memory of {length} frames done")

    def _late(self, what: str) -> bool:
        late = time.monotonic() > self._deadline
        if late:
            _say(f"the budget of {self.args.budget:g} minutes is spent: no {what}; run the command again to go on")
        return late

    def _fail(self, name: str, error: Exception) -> None:
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.close()
        self.record.of(name)["failed"] = " ".join(str(error).split())
        self.record.save(self.file)
        _say(f"{name}: skipped: {error}")


def merge(document: str, section: str) -> str:
    """Put a section into a document, in place of the one with the same heading if there is one."""
    heading = section.split("\n", 1)[0]
    title = "# Speed"
    parts = re.split(r"(?m)^(?=## )", document) if document else [f"{title}\n\n"]
    kept = [part for part in parts if part.split("\n", 1)[0] != heading]
    return "\n\n".join(part.strip() for part in (*kept, section)) + "\n"


def _check(args: argparse.Namespace) -> None:
    numbers = {"--frames": args.frames, "--rounds": args.rounds, "--threads": args.threads}
    for option, value in numbers.items():
        if value < 1:
            raise ConfigError(f"{option} must be 1 or more, got {value}.")
    if args.psnr_frames < 0 or min(args.memory_lengths, default=1) < 1:
        raise ConfigError(
            f"--psnr-frames must be 0 or more and --memory-lengths 1 or more, got {args.psnr_frames} and "
            f"{args.memory_lengths}."
        )


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write HEIGHTxWIDTH such as 180x320.")
    return int(match[1]), int(match[2])


def _vid4() -> dict[str, tuple[Path, Path]]:
    """Return low- and high-resolution folders of the clips to score, if $VSRQ_DATA has them."""
    root = Path(os.environ.get("VSRQ_DATA", "data")) / "Vid4"
    folders = {clip: (root / "BIx4" / clip, root / "GT" / clip) for clip in _CLIPS}
    if not all(folder.is_dir() for pair in folders.values() for folder in pair):
        _say(f"{root} has no Vid4 clips: nothing is scored; set VSRQ_DATA to the folder that holds Vid4")
        return {}
    return folders


def _frames(folder: Path) -> np.ndarray:
    return np.ascontiguousarray(to_uint8(load_clip(folder)).permute(0, 2, 3, 1).numpy())


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(text, "utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
