"""Measure what each layer costs when it alone is quantized, and choose bits under a budget."""

import argparse
import sys

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a quantized experiment: its recipes and rules are used")
    parser.add_argument("clip", help="high-resolution clip, a folder of frames or a video")
    parser.add_argument("--checkpoint", help="float weights; default: the config's float_checkpoint")
    parser.add_argument("--start", type=int, default=0, help="first frame")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--crop", type=int, default=256, help="square in the middle, in high-resolution pixels")
    parser.add_argument("--degradation", choices=["BI", "BD"], default="BI")
    parser.add_argument("--bits", nargs="+", default=["3", "4", "6", "8"], help="as 4, or weight/activation as 4/8")
    parser.add_argument("--layers", nargs="+", default=["*"], help="glob patterns of the layers to try")
    parser.add_argument("--budget", type=float, help="BOPs/MAC; writes the best rules within it")
    parser.add_argument("--out", default="work_dirs/sensitivity", help="folder for the table, JSON, plot and rules")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    arguments = vars(parse_args())
    debug = arguments.pop("debug")

    def command() -> None:
        from vsrq.apis.sensitivity import analyse

        analyse(**arguments)

    return cli.run(command, debug=debug)


if __name__ == "__main__":
    sys.exit(main())
