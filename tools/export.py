"""Export the network of a config into a bundle of step graphs, checked against PyTorch."""

import argparse
import sys

from vsrq.apis import export_command


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    export_command.add_arguments(parser)
    return export_command.command(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
