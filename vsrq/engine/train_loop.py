"""MMEngine's iteration loop, resumable bit for bit without reading old data again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop as MMEngineIterBasedTrainLoop
from mmengine.runner import Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator

from vsrq.engine import rng
from vsrq.engine.stream import SeededDataset, StreamSampler
from vsrq.registry import DATASETS, LOOPS


@LOOPS.register_module()
class IterBasedTrainLoop(MMEngineIterBasedTrainLoop):
    """Iteration-based training whose data position and random state survive an interruption.

    Arguments are those of MMEngine's loop of the same name. With an ``InfiniteSampler`` the data is a
    seekable stream (:mod:`vsrq.engine.stream`) and resuming is immediate; with other samplers MMEngine's way
    is kept, which loads and drops the batches already seen. Validation does not disturb the random state.
    """

    def __init__(self, runner: Runner, dataloader: Any, *args: Any, **kwargs: Any):
        if isinstance(dataloader, dict) and _is_endless(dataloader):
            dataloader = _as_stream(dataloader, runner)
        super().__init__(runner, dataloader, *args, **kwargs)
        self.samples_seen = 0
        self._resume_state: dict[str, Any] | None = None

    @property
    def _stream(self) -> StreamSampler | None:
        sampler = self.dataloader.sampler
        return sampler if isinstance(sampler, StreamSampler) else None

    def data_state(self) -> dict[str, int]:
        """Return the stream's seed and the number of samples all processes have consumed."""
        return {"samples_seen": self.samples_seen, "seed": -1 if self._stream is None else self._stream.seed}

    def resume_from(self, data: dict[str, int], random_state: dict[str, Any]) -> None:
        """Continue, at the next :meth:`run`, from a data position and a random state."""
        self._resume_state = {"data": data, "random": random_state}

    def run(self) -> Any:
        """Train from the current iteration to ``max_iters``."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self._seek()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            if self._validation_is_due():
                with rng.preserved():
                    self.runner.val_loop.run()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        """Train on one batch."""
        # Counted before the step: a checkpoint written by a hook of this step must include its samples.
        self.samples_seen += (self.dataloader.batch_size or 0) * get_dist_info()[1]
        super().run_iter(data_batch)

    def _validation_is_due(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters

    def _seek(self) -> None:
        if self._iter == 0:
            return
        state = self._resume_state
        stream = self._stream
        if stream is None or state is None or state["data"]["seed"] < 0:
            self._replay()
        else:
            self.samples_seen = stream.start = state["data"]["samples_seen"]
            stream.seed = self.dataloader.dataset.seed = state["data"]["seed"]
            self.dataloader_iterator = _InfiniteDataloaderIterator(self.dataloader)
        if state is not None:
            # Last, because a new loader iterator draws from torch's generator.
            rng.restore(state["random"])

    def _replay(self) -> None:
        print_log(
            f"Skipping the {self._iter} batches already trained on by loading them again: the checkpoint or the "
            "sampler has no data position (use sampler=dict(type='InfiniteSampler')).",
            logger="current",
            level=logging.WARNING,
        )
        for _ in range(self._iter):
            next(self.dataloader_iterator)
        self.samples_seen = self._iter * (self.dataloader.batch_size or 0) * get_dist_info()[1]


def _is_endless(dataloader: dict) -> bool:
    sampler = dataloader.get("sampler")
    name = sampler.get("type") if isinstance(sampler, dict) else None
    return name in ("InfiniteSampler", "mmengine.InfiniteSampler") and "batch_sampler" not in dataloader


def _as_stream(dataloader: dict, runner: Runner) -> dict:
    """Return the loader's config with a built seeded dataset and its stream sampler."""
    dataset = dataloader["dataset"]
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    sampler = dataloader["sampler"]
    seed = sampler.get("seed")
    if seed is None:
        # With diff_rank_seed the runner's seed differs between processes; the stream's may not.
        differs = runner._randomness_cfg.get("diff_rank_seed", False)
        seed = sync_random_seed() if differs or runner.seed is None else runner.seed
    rank, world_size = get_dist_info()
    stream = StreamSampler(
        len(dataset), seed=seed, shuffle=sampler.get("shuffle", True), rank=rank, world_size=world_size
    )
    return {**dataloader, "dataset": SeededDataset(dataset, seed=seed), "sampler": stream}
