"""Turn a checkpoint into a small .safetensors file with the weights of the network alone."""

import argparse
import sys
from pathlib import Path

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint in any layout vsrq reads")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--dtype", choices=["float16", "float32"], help="default: float16; with --pack float32")
    parser.add_argument("--pack", metavar="CONFIG", help="the quantized experiment: store weights as integer codes")
    parser.add_argument("--trust-checkpoint", action="store_true", help="load a checkpoint with pickled code")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        import torch

        from vsrq.apis.packing import packed_state
        from vsrq.models import read_state_dict, save_weights

        if args.pack is None:
            weights = read_state_dict(args.checkpoint, trust=args.trust_checkpoint)
        else:
            weights = packed_state(args.pack, args.checkpoint, trust=args.trust_checkpoint)
        dtype = args.dtype or ("float16" if args.pack is None else "float32")
        save_weights(weights, args.out, dtype=getattr(torch, dtype))
        size = args.out.stat().st_size / 2**20
        print(f"{len(weights)} tensors, {size:.1f} MiB written to {args.out}")

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
