"""Run one of the measurements in ``vsrq.benchmark``."""

import argparse
import importlib
import importlib.util
import sys

from vsrq.apis import cli

# each module has add_arguments(parser) and main(args) -> exit status; only the one asked for is imported
COMMANDS = {
    "ablation": "what each ingredient of fine-tuning is worth, over several seeds",
    "accuracy": "scores of the three networks on Vid4, float, quantized and fine-tuned",
    "baselines": "post-training quantization by vsrq's presets and by other toolkits, on one network",
    "calibration": "post-training recipes side by side, such as real against rendered clips to calibrate on",
    "depth": "accuracy and cost of a depth-dynamic network at each of its depths",
    "residual": "temporal residuals beside frame quantization: quality, bit operations, memory",
    "residual-overhead": "time of the simulated residual forward over the frame-quantized one",
    "state": "PSNR against the frame index with recurrent features stored in 32, 8 and 4 bit",
    "skip": "measured time and quality of skipping unchanged tiles",
    "speed": "measured time of exported networks",
    "lookahead": "quality over the number of future frames a network may see",
    "train-step": "time and memory of a quantized training step over the float one",
}


def module_name(command: str) -> str:
    return f"vsrq.benchmark.{command.replace('-', '_')}"


def main() -> int:
    available = {name: text for name, text in COMMANDS.items() if importlib.util.find_spec(module_name(name))}
    lines = "\n".join(f"  {name:18} {text}" for name, text in available.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"commands:\n{lines}\n\nCOMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=sorted(available), metavar="COMMAND")
    name = parser.parse_args(sys.argv[1:2]).command
    module = importlib.import_module(module_name(name))
    parser = argparse.ArgumentParser(prog=f"benchmark.py {name}", description=module.__doc__)
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors (or set VSRQ_DEBUG=1)")
    args = parser.parse_args(sys.argv[2:])
    status = 0

    def command() -> None:
        nonlocal status
        status = module.main(args)

    return cli.run(command, debug=args.debug) or status


if __name__ == "__main__":
    sys.exit(main())
