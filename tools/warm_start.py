"""Start a small BasicVSR++ or EDVR from official BasicVSR weights: flow network, tail and alignment."""

import argparse
import sys
from pathlib import Path

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config whose model is to be started; its training clips are looked at")
    parser.add_argument("teacher", type=Path, help="official BasicVSR weights")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--clips", type=int, default=24, help="how many clips to look at (default 24)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.apis import warm_start

        warm_start(args.config, args.teacher, args.out, clips=args.clips)

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
