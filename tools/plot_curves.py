"""Draw the training curves of one or more runs from their TensorBoard events."""

import argparse
import sys
from pathlib import Path

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dirs", nargs="+", type=Path, help="folders of runs, one curve each")
    parser.add_argument("--out", required=True, type=Path, help="the picture to write")
    parser.add_argument("--name", default="loss", help="which logged value (default: loss)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.apis.curves import plot_curves

        plot_curves(args.work_dirs, args.out, name=args.name)

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
