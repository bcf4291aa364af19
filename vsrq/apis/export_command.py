"""The command line of ``tools/export.py`` and ``python -m vsrq export``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mmengine.config import DictAction

from vsrq.apis import cli
from vsrq.errors import ConfigError

BACKENDS = ("openvino", "onnxruntime")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("config", help="path of the config file, of a float or a quantized network")
    parser.add_argument("checkpoint", nargs="?", help="weights and ranges; default: the config's float_checkpoint")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the bundle")
    parser.add_argument("--backend", choices=BACKENDS, help="default: the config's backend_config.type, else openvino")
    parser.add_argument("--clip", metavar="PATH", help="low-resolution video or frames to compare with PyTorch on")
    parser.add_argument(
        "--skip-budget", type=float, metavar="DB", help="calibrate which tiles may be skipped to this loss of PSNR-Y"
    )
    parser.add_argument(
        "--skip-clips",
        nargs="+",
        default=[],
        metavar="PATH",
        help="high-resolution clips for it; default: fetched",
    )
    parser.add_argument("--size", metavar="HxW", help="fix the graphs to frames of this height and width")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that exists")
    parser.add_argument("--trust-checkpoint", action="store_true", help="allow a checkpoint that executes pickled code")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="override settings")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")


def command(args: argparse.Namespace) -> int:
    """Export as the command line says and return the exit status."""

    def work() -> None:
        size = parse_size(args.size)
        check_skip(args)
        from vsrq.apis.exporting import export_config

        export_config(
            args.config,
            args.checkpoint,
            args.out,
            backend=args.backend,
            clip=args.clip,
            size=size,
            cfg_options=args.cfg_options,
            overwrite=args.overwrite,
            trust_checkpoint=args.trust_checkpoint,
        )
        if args.skip_budget is not None:
            from vsrq.apis.skip_budget import calibrate_bundle

            calibrate_bundle(Path(args.out), args.skip_budget, args.skip_clips)

    return cli.run(work, debug=args.debug)


def check_skip(args: argparse.Namespace) -> None:
    """Check what skipping was asked for, before any work.

    Raises:
        ConfigError: The budget is negative, or belongs to graphs of one size, or the clips to no budget.
    """
    if args.skip_budget is None:
        if args.skip_clips:
            raise ConfigError("--skip-clips are for --skip-budget; give the loss in dB that is allowed, such as 0.05.")
        return
    if not args.skip_budget >= 0:
        raise ConfigError(f"--skip-budget {args.skip_budget:g} must be a loss in dB, 0 or more.")
    if args.size is not None:
        raise ConfigError("--skip-budget needs graphs that take windows of any size; leave --size out.")


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read ``180x320``: height and width in pixels.

    Raises:
        ConfigError: It reads otherwise.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or "0" in match.groups():
        raise ConfigError(f"--size {text!r} is not HEIGHTxWIDTH in pixels, such as 180x320.")
    return int(match[1]), int(match[2])
