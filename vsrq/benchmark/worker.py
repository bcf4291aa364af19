"""A process per contestant, so that memory is its own and nobody's threads stay in the way."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vsrq.benchmark.bundles import Workshop
from vsrq.errors import VsrqError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class WorkerError(VsrqError, RuntimeError):
    """A contestant cannot go on; the message says why."""


class Worker:
    """Speaks to a process.

    Args:
        workshop: Where the contestant's files lie.
        name: Of the contestant.
        threads: How many threads it may use.
    """

    def __init__(self, workshop: Workshop, name: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = name
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, workshop, name, threads), daemon=True)
        with _environment(dict.fromkeys(_THREAD_VARIABLES, str(threads))):
            self._process.start()
        theirs.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have a method of :class:`_Service` run, and return what it returns.

        Raises:
            WorkerError: It failed, or the process is gone.
        """
        try:
            self._connection.send((command, arguments))
            error, answer = self._connection.recv()
        except (EOFError, OSError) as gone:
            self._process.join(5)
            raise WorkerError(
                f"the process of {self._name} ended (exit code {self._process.exitcode}); -9 mostly means that memory "
                "ran out: take smaller frames or fewer of them."
            ) from gone
        if error:
            raise WorkerError(error)
        return answer

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Service:
    """What a process can be asked for."""

    def __init__(self, workshop: Workshop, name: str, threads: int) -> None:
        self._workshop, self._name, self._threads = workshop, name, threads
        self._running: Any = None

    def prepare(self, kind: str) -> None:
        """Make the files of a contestant."""
        import torch

        torch.set_num_threads(self._threads)
        self._workshop.prepare(kind)

    def macs(self, height: int, width: int) -> list:
        """Count multiply-accumulates."""
        import torch

        torch.set_num_threads(self._threads)
        return self._workshop.macs(height, width)

    def load(self, frames: np.ndarray) -> dict[str, float]:
        """Start the contestant and run it once over a few frames (t, h, w, 3)."""
        from vsrq.benchmark.contestants import CONTESTANTS, start

        begin = time.perf_counter()
        self._running = start(CONTESTANTS[self._name], self._workshop, self._threads)
        built = time.perf_counter() - begin
        for _ in self._running.stream(frames):
            pass
        return {"load_seconds": built + getattr(self._running, "load_seconds", 0.0)}

    def run(self, frames: np.ndarray, count: int) -> dict[str, Any]:
        """Upscale ``count`` frames and return seconds, peak memory and the share of each step."""
        from vsrq.benchmark.networks import looped

        _trim()
        if hasattr(self._running, "restart"):
            self._running.restart()
        reset_peak()
        begin = time.perf_counter()
        for _ in self._running.stream(looped(frames, count)):
            pass
        seconds = time.perf_counter() - begin
        steps = {name: (entry.calls, entry.seconds) for name, entry in getattr(self._running, "times", {}).items()}
        return {"seconds": seconds, "peak_bytes": peak_bytes(), "steps": steps}

    def score(self, low: np.ndarray, high: np.ndarray, reference: Path, write: bool) -> dict[str, float]:
        """Return the PSNR (luma, dB) of upscaled frames ``low`` to ``high`` and to frames kept in a file.

        Args:
            low: (t, h, w, 3).
            high: (t, 4h, 4w, 3).
            reference: File of the reference's frames.
            write: Write this file.
        """
        from vsrq.datasets.clips import to_tensor
        from vsrq.evaluation.functional import psnr

        outputs = np.stack(list(self._running.stream(low)))
        if write:
            partial = reference.with_suffix(".partial.npy")
            np.save(partial, outputs)
            os.replace(partial, reference)
        scores = {"truth": psnr(to_tensor(outputs) * 255, to_tensor(high) * 255, convert_to="Y").mean().item()}
        if reference.is_file() and not write:
            kept = to_tensor(np.load(reference))
            # equal frames have no PSNR
            scores["reference"] = min(200.0, psnr(to_tensor(outputs) * 255, kept * 255, convert_to="Y").mean().item())
        return scores

    def profile(self, frames: np.ndarray, count: int) -> dict[str, Any]:
        """Return the time of each kernel over ``count`` frames, and the machine's peak just before and after."""
        from vsrq.benchmark.contestants import CONTESTANTS, start
        from vsrq.benchmark.networks import looped
        from vsrq.benchmark.peak import int8_peak

        peaks = [int8_peak(self._threads)]
        running: Any = start(CONTESTANTS[self._name], self._workshop, self._threads, profile=True)
        for _ in running.stream(frames[:2]):
            pass
        running.restart()
        for _ in running.stream(looped(frames, count)):
            pass
        peaks.append(int8_peak(self._threads))
        return {
            "peak_macs": max(peaks),
            "steps": {name: (entry.calls, entry.seconds) for name, entry in running.times.items()},
            "kernels": [(*key, milliseconds) for key, milliseconds in running.kernels.items()],
        }


def reset_peak() -> None:
    """Let the peak of this process's memory start anew where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_bytes() -> int:
    """Return the peak of this process's resident memory since :func:`reset_peak`, or since its start."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _trim() -> None:
    """Give back what earlier runs have freed, so that it does not count as memory of the next."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _serve(connection: Connection, workshop: Workshop, name: str, threads: int) -> None:
    service = _Service(workshop, name, threads)
    while True:
        try:
            command, arguments = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            answer = "", getattr(service, command)(**arguments)
        except KeyboardInterrupt:
            return
        except VsrqError as error:
            answer = f"{type(error).__name__}: {error}", None
        except Exception as error:  # one contestant's failure must not stop the others
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(str(error).split())[:300]
            answer = f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}: {text}", None
        connection.send(answer)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
