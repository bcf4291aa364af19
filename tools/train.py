"""Train a model from a config: float, quantization-aware, or post-training calibration."""

import argparse
import sys

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="path of the config file")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="continue from this checkpoint; without a path from the newest one in the work dir, if any",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision (bfloat16 on the CPU)")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size")
    cli.add_common_arguments(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.apis import train
        from vsrq.apis.distributed import leave_group

        train(
            args.config,
            work_dir=args.work_dir,
            resume=args.resume,
            amp=args.amp,
            auto_scale_lr=args.auto_scale_lr,
            cfg_options=args.cfg_options,
            launcher=args.launcher,
            local_rank=args.local_rank,
            trust_checkpoint=args.trust_checkpoint,
        )
        leave_group()

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
