"""Score a network beside bicubic interpolation on the test clips of a config, and show both."""

import argparse
import sys
from pathlib import Path

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="path of the config file; its first test set is taken")
    parser.add_argument("checkpoint", help="path of the checkpoint")
    parser.add_argument("--out", type=Path, help="write the scores to this JSON file")
    parser.add_argument("--picture", type=Path, help="write crops to this PNG file: bicubic, network, ground truth")
    parser.add_argument("--clips", nargs="*", default=[], metavar="NAME", help="only these clips")
    parser.add_argument("--start", type=int, default=0, help="first frame (default 0)")
    parser.add_argument("--frames", type=int, help="how many frames; all by default")
    parser.add_argument("--crop", type=int, default=96, help="edge of the crops in pixels (default 96)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.apis import compare

        options = {name: getattr(args, name) for name in ("out", "picture", "clips", "start", "frames", "crop")}
        print("clip frames bicubic-PSNR network-PSNR bicubic-SSIM network-SSIM")
        for row in compare(args.config, args.checkpoint, **options):
            scores = [f"{row[f'{who} {what}']:.4f}" for what in ("PSNR", "SSIM") for who in ("bicubic", "network")]
            print(row["clip"], row["frames"], *scores)

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
