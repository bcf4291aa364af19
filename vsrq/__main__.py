"""``python -m vsrq COMMAND``: the tools, for those who installed the package without its sources."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from vsrq.errors import did_you_mean

# Each module has add_arguments(parser) and command(args) -> exit status; only the one asked for is imported.
COMMANDS = {
    "export": ("vsrq.apis.export_command", "export a network into a bundle of step graphs"),
    "upscale": ("vsrq.apis.upscaling", "upscale a video, a folder of images, or y4m on standard input"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command named first and return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        lines = "\n".join(f"  {command:10} {text}" for command, (_, text) in COMMANDS.items())
        sys.stdout.write(f"usage: python -m vsrq COMMAND ...\n\ncommands:\n{lines}\n")
        return 0
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        sys.stderr.write(f"error: no command {name!r}{hint}. Allowed: {', '.join(COMMANDS)}.\n")
        return 2
    module, text = COMMANDS[name]
    implementation = import_module(module)
    parser = argparse.ArgumentParser(prog=f"python -m vsrq {name}", description=text)
    implementation.add_arguments(parser)
    return implementation.command(parser.parse_args(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main())
