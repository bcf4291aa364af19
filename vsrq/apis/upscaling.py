"""Upscale a video with a bundle, a config and checkpoint, or the network vsrq makes on first use."""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vsrq.apis import cli
from vsrq.errors import ConfigError

if TYPE_CHECKING:
    from vsrq.runtime import FrameUpscaler, Upscaler
    from vsrq.runtime.video.options import Summary

Prepare = Callable[[], "tuple[FrameUpscaler, str]"]

BACKENDS = ("openvino", "onnxruntime", "torch")
MANIFEST = "manifest.json"
_SHORTEST = 1e-9  # seconds; guards divisions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``tools/upscale.py`` and ``python -m vsrq upscale``."""
    parser.add_argument("source", help="video, folder of images, quoted glob ('frames/*.png'), or - for y4m")
    parser.add_argument("target", help="video (.mp4 .mkv .mov .m4v .webm), folder for PNG images, or - for y4m")
    network = parser.add_argument_group("network", "default: official BasicVSR weights at 8 bit, exported on first use")
    network.add_argument("--bundle", metavar="DIR", help="folder written by tools/export.py")
    network.add_argument("--config", metavar="CFG", help="config of a network, exported before it runs")
    network.add_argument("--checkpoint", metavar="PTH", help="its weights")
    network.add_argument(
        "--backend", choices=BACKENDS, help="what runs the network: the bundle's own, or torch as the (slow) reference"
    )
    skip = parser.add_argument_group("skipping", "compute only the tiles that change; for cameras at rest")
    skip.add_argument("--skip", action="store_true", help="as the bundle was calibrated by export --skip-budget")
    skip.add_argument(
        "--skip-tolerance", type=float, metavar="L", help="grey levels of 255 that do not count; 0: any do"
    )
    skip.add_argument("--skip-picture", metavar="PNG", help="draw how often each tile was computed")
    part = parser.add_argument_group("part")
    part.add_argument("--start", metavar="T", help="first moment, seconds or HH:MM:SS")
    part.add_argument("--end", metavar="T", help="end, not included")
    part.add_argument("--fps", type=float, metavar="R", help="frame rate of images; default: 25")
    picture = parser.add_argument_group("picture")
    picture.add_argument("--scale-to", metavar="SIZE", help="fit into WIDTHxHEIGHT, or give lines: 720p, 1080p, ..")
    picture.add_argument("--side-by-side", action="store_true", help="bicubically enlarged source | result")
    file = parser.add_argument_group("file")
    file.add_argument("--codec", help="libx264 (default), libx265, libsvtav1, libvpx-vp9, ffv1 (lossless, .mkv)")
    file.add_argument("--crf", type=int, metavar="N", help="constant rate factor: smaller is better and larger")
    file.add_argument("--preset", help="speed of the encoder, e.g. veryfast")
    file.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    file.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary; errors alone")
    parser.add_argument(
        "--stats", action="store_true", help="say how long decoding, inference and encoding took, and what was skipped"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")


def command(args: argparse.Namespace, prepare: Prepare | None = None) -> int:
    """Do what the command line says and return the exit status.

    Args:
        args: Parsed arguments of :func:`add_arguments`.
        prepare: Makes the network; by default the one the arguments name.
    """

    def work() -> None:
        network = _Remembered(prepare or _network_of(args))
        with _own_stdout() if args.target == "-" else nullcontext() as stdout:
            summary = upscale(args, network, stdout=stdout)
        if not args.quiet:
            sys.stderr.write(_describe(summary))
        if args.stats:
            sys.stderr.write(_shares(summary))
        _tell_skipped(args, network.upscaler)

    return cli.run(work, debug=args.debug)


def upscale(args: argparse.Namespace, prepare: Prepare, *, stdout: BinaryIO | None = None) -> Summary:
    """Upscale as the arguments say.

    Raises:
        VsrqError: Something about the options, the source, the target or the network is wrong.
        Interrupted: SIGINT or SIGTERM.
    """
    from vsrq.runtime import Options, convert
    from vsrq.runtime.video.progress import ProgressBar

    names = Options.__dataclass_fields__
    options = Options(**{name: getattr(args, name) for name in names})
    with ProgressBar(quiet=args.quiet) as progress, _warnings_shown(args.quiet):
        return convert(options, prepare, progress=progress, stdout=stdout)


def _network_of(args: argparse.Namespace) -> Prepare:
    if args.bundle and (args.config or args.checkpoint):
        raise ConfigError("--bundle already holds a network; leave out --config and --checkpoint")
    if args.checkpoint and not args.config:
        raise ConfigError("--checkpoint needs --config, which says what network it fits")
    if args.bundle and args.backend == "torch":
        raise ConfigError("--backend torch runs a network, and a bundle holds graphs: give --config and --checkpoint")
    return (lambda: _in_torch(args)) if args.backend == "torch" else (lambda: _in_graphs(args))


def _in_graphs(args: argparse.Namespace) -> tuple[FrameUpscaler, str]:
    from vsrq.runtime import Upscaler

    if args.bundle:
        bundle = Path(args.bundle)
    else:
        from vsrq.apis import exporting

        if args.config:
            bundle = exporting.cached_bundle(args.config, args.checkpoint, backend=args.backend)
        else:
            bundle = exporting.default_bundle(backend=args.backend)
    upscaler = Upscaler(bundle, backend=args.backend, skip=_skip_of(args))
    # The manifest holds the checksums of everything else.
    return upscaler, _identity(hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest(), upscaler)


def _in_torch(args: argparse.Namespace) -> tuple[FrameUpscaler, str]:
    from vsrq.apis import config, default_network, exporting
    from vsrq.deploy.torch_backend import TorchSteps
    from vsrq.runtime import Upscaler

    if args.config:
        model = exporting.build_model(config.load_config(args.config), args.checkpoint)
    else:
        model = default_network.calibrated(exporting.data_folder())
    digest = hashlib.sha256()
    for name, tensor in model.generator.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    upscaler = Upscaler(TorchSteps(model.generator), skip=_skip_of(args))
    return upscaler, _identity(digest.hexdigest(), upscaler)


def _identity(network: str, upscaler: Upscaler) -> str:
    return network if upscaler.skip is None else f"{network} {upscaler.skip}"


def _skip_of(args: argparse.Namespace) -> dict[str, float] | bool:
    if args.skip_tolerance is not None:
        return {"tolerance": args.skip_tolerance}
    return bool(args.skip or args.skip_picture)


class _Remembered:
    """Makes a network and keeps it, to be asked afterwards."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self.upscaler: FrameUpscaler | None = None

    def __call__(self) -> tuple[FrameUpscaler, str]:
        self.upscaler, identity = self._prepare()
        return self.upscaler, identity


def _tell_skipped(args: argparse.Namespace, upscaler: FrameUpscaler | None) -> None:
    stats, policy = getattr(upscaler, "skip_stats", None), getattr(upscaler, "skip", None)
    if stats is None or policy is None:
        return
    if args.stats:
        sys.stderr.write(f"{stats.table()}\n")
    if args.skip_picture:
        from vsrq.runtime.skip.picture import write_picture

        write_picture(args.skip_picture, stats, policy.tile)


@contextmanager
def _warnings_shown(quiet: bool) -> Iterator[None]:
    """Show the warnings of the runtime as lines on standard error."""
    logger = logging.getLogger("vsrq.runtime")
    handler = logging.StreamHandler()  # to the standard error of this moment: a progress bar may have wrapped it
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    handler.setLevel(logging.ERROR if quiet else logging.WARNING)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@contextmanager
def _own_stdout() -> Iterator[BinaryIO]:
    """Give standard output to the caller alone; whatever else is printed goes to standard error."""
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(private, "wb")
    try:
        yield stream
    finally:
        sys.stdout.flush()
        os.dup2(private, 1)
        with suppress(BrokenPipeError):  # reported when it was met
            stream.close()


def _describe(summary: Summary) -> str:
    new = summary.frames - summary.kept
    resumed = f", {summary.kept} of them kept" if summary.kept else ""
    speed = new / max(summary.seconds, _SHORTEST)
    name = "standard output" if summary.target == "-" else summary.target
    return f"{name}: {summary.frames} frames{resumed}; {summary.seconds:.1f} s, {speed:.2f} fps\n"


def _shares(summary: Summary) -> str:
    parts = {"decoding": summary.decode, "inference": summary.infer, "encoding": summary.encode}
    share = 100 / max(summary.seconds, _SHORTEST)
    shares = ", ".join(f"{name} {seconds:.1f} s ({seconds * share:.0f} %)" for name, seconds in parts.items())
    return f"{shares} of {summary.seconds:.1f} s; they overlap\n"
