"""Quantize official BasicVSR weights on two real clips and print the honest table."""

import argparse
import sys
from pathlib import Path

from vsrq.apis import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=Path("data"), type=Path, help="folder that caches weights and clips")
    parser.add_argument("--out", default=Path("work_dirs/demo"), type=Path, help="folder for the table and the picture")
    parser.add_argument("--fetch-only", action="store_true", help="only download weights and clips")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    def command() -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from vsrq.demo import assets, report
        from vsrq.demo.run import run
        from vsrq.demo.settings import CLIPS, RECIPES

        files = assets.fetch(args.data)
        if args.fetch_only:
            return
        console = Console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("start", total=len(CLIPS) * (2 + len(RECIPES)))

            def show(step: str) -> None:
                bar.update(task, advance=1, description=step)
                if not console.is_terminal:
                    console.print(f"{step} done")

            result = run(files, show)
        report.write(result, args.out)
        report.show(result, console)
        console.print(f"Written: {args.out}/summary.json, report.md, comparison.png")

    return cli.run(command, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
