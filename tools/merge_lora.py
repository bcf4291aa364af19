"""Merge the low-rank changes of a fine-tuned network into its weights."""

import argparse
import sys

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="an experiment with lora=dict(...) or nf4=dict(...)")
    parser.add_argument("checkpoint", help="its weights")
    parser.add_argument("out", help="the .pth file to write")
    parser.add_argument("--trust-checkpoint", action="store_true", help="allow checkpoints that execute pickled code")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.apis.merging import merge

        print(merge(args.config, args.checkpoint, args.out, trust_checkpoint=args.trust_checkpoint))

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
