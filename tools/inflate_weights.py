"""Start an EDVR of windows from the same network trained on single frames."""

import argparse
import sys
from pathlib import Path

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config of the network of a window")
    parser.add_argument("checkpoint", type=Path, help="weights of the network with num_frames=1")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.apis import inflate

        inflate(args.config, args.checkpoint, args.out)

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
