"""Measure whether temporal prediction pays, layer by layer: calibrate the network of a config and run a clip."""

import argparse
import sys

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="an experiment with residual=dict(...)")
    parser.add_argument("checkpoint", help="calibrated weights, as tools/train.py saves them")
    parser.add_argument("clip", help="folder of low-resolution frames, or a video")
    parser.add_argument("--start", type=int, default=0, help="first frame")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--out", default="work_dirs/residual_stats", help="folder for the table, JSON and plot")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.apis.residual_stats import measure

        measure(args.config, args.checkpoint, args.clip, start=args.start, frames=args.frames, out=args.out)

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
