"""Score a checkpoint on the test sets of a config."""

import argparse
import sys

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="path of the config file")
    parser.add_argument("checkpoint", help="path of the checkpoint")
    parser.add_argument("--out", metavar="FILE", help="write the metrics to this file (.json, .yaml, .pkl)")
    cli.add_common_arguments(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.apis import evaluate
        from vsrq.apis.distributed import leave_group

        evaluate(
            args.config,
            args.checkpoint,
            work_dir=args.work_dir,
            out=args.out,
            cfg_options=args.cfg_options,
            launcher=args.launcher,
            local_rank=args.local_rank,
            trust_checkpoint=args.trust_checkpoint,
        )
        leave_group()

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
