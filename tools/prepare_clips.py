"""Turn video files into training clips: reduce, cut at scene changes, write PNG or LMDB, list and checksum."""

import argparse
import sys
from pathlib import Path

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path, help="video files, and folders that hold some")
    parser.add_argument("--out", required=True, type=Path, help="the folder to make")
    parser.add_argument("--reduction", type=int, default=2, help="reduce frames so many times first (default 2)")
    parser.add_argument("--cut", type=float, default=25.0, help="grey levels that make a scene change (default 25)")
    parser.add_argument("--min-frames", type=int, default=15, help="drop shorter scenes (default 15)")
    parser.add_argument("--max-frames", type=int, default=100, help="split longer scenes (default 100)")
    parser.add_argument("--min-clips", type=int, default=1, help="fail with fewer: processes times batch size")
    parser.add_argument("--hold-out", nargs="*", default=[], metavar="NAME", help="videos to leave out")
    parser.add_argument("--lmdb", action="store_true", help="write OUT/clips.lmdb instead of folders of PNG files")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from vsrq.datasets.prepare import Preparation, prepare_clips

        settings = Preparation(
            reduction=args.reduction,
            cut=args.cut,
            min_frames=args.min_frames,
            max_frames=args.max_frames,
            hold_out=tuple(args.hold_out),
            lmdb=args.lmdb,
        )
        rows = prepare_clips(args.videos, args.out, settings, min_clips=args.min_clips)
        frames = sum(row["frames"] for row in rows)
        print(f"{len(rows)} clips, {frames} frames written to {args.out}")

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
