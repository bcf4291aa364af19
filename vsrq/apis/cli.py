"""What all command-line tools share: arguments and the way errors are shown."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from mmengine.config import DictAction

from vsrq.errors import VsrqError


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that ``tools/train.py`` and ``tools/test.py`` have in common."""
    parser.add_argument("--work-dir", help="folder for logs and checkpoints; default: work_dirs/<config's name>")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override settings of the config, e.g. train_cfg.max_iters=100 model.generator.mid_channels=32; "
        'lists as key="[a,b]" or key=a,b, without white space',
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    # torch.distributed.launch passes --local-rank, older versions --local_rank.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="load checkpoints that contain pickled code; it is executed, so only for files you trust",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")


def run(command: Callable[[], object], *, debug: bool = False) -> int:
    """Run a command; show an error of vsrq as one line and return the exit status.

    Errors that vsrq did not raise on purpose pass through, with their traceback: they are bugs.

    Args:
        command: The work.
        debug: Show the traceback of vsrq's errors too. The environment variable ``VSRQ_DEBUG`` does the same.
    """
    try:
        command()
    except VsrqError as error:
        if debug or os.environ.get("VSRQ_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 1
    except KeyboardInterrupt as error:
        sys.stderr.write(f"interrupted: {error}\n" if str(error) else "interrupted\n")
        return 130
    return 0
