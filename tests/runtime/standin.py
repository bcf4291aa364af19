"""Stand-ins for a network, and the command line around one: ``python -m tests.runtime.standin IN OUT ...``."""

import argparse
import sys
import time

import cv2
import numpy as np


class Nearest:
    """Repeats pixels; gives results in chunks, as a network with backward branches does."""

    def __init__(self, scale=4, chunk=5, delay=0.0):
        self.scale, self.chunk, self.delay = scale, chunk, delay
        self.seen = []

    def stream(self, frames):
        chunk = []
        for frame in frames:
            self.seen.append((frame.shape, frame.dtype))
            chunk.append(frame)
            if len(chunk) == self.chunk:
                yield from self._results(chunk)
                chunk = []
        yield from self._results(chunk)

    def _results(self, chunk):
        for frame in chunk:
            time.sleep(self.delay)
            yield self.enlarge(frame)

    def enlarge(self, frame):
        return np.ascontiguousarray(frame.repeat(self.scale, 0).repeat(self.scale, 1))


class Smoothing(Nearest):
    """Recurrent: a result depends on all frames before it, with a fading memory."""

    context = 12

    def stream(self, frames):
        state = None

        def smoothed():
            nonlocal state
            for frame in frames:
                state = frame.astype(np.float64) if state is None else 0.7 * frame + 0.3 * state
                yield np.rint(state).astype(frame.dtype)

        yield from super().stream(smoothed())


class Bicubic(Nearest):
    def enlarge(self, frame):
        return cv2.resize(frame, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_CUBIC)


def main():
    from vsrq.apis import upscaling

    parser = argparse.ArgumentParser()
    upscaling.add_arguments(parser)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--identity", default="stand-in")
    args = parser.parse_args()

    def prepare():
        sys.stdout.write("a network that prints\n")
        return Smoothing(args.scale, delay=args.delay), args.identity

    return upscaling.command(args, prepare)


if __name__ == "__main__":
    sys.exit(main())
