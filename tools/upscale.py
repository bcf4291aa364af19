"""Upscale a video, a folder of images, or y4m on standard input."""

import argparse
import sys

from vsrq.apis import upscaling


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    upscaling.add_arguments(parser)
    return upscaling.command(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
