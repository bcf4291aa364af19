"""Checkpoints that survive a full disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from vsrq.errors import TrainingError
from vsrq.registry import HOOKS


class AtomicLocalBackend(LocalBackend):
    """MMEngine's storage on local disks, where a file is either complete or not there."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write a file under a temporary name, flush it to the disk and rename it."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            with unfinished.open("wb") as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise


register_backend("AtomicLocalBackend", AtomicLocalBackend, force=True)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's hook, except that an old checkpoint is removed only when the new one is complete.

    Arguments are those of MMEngine's ``CheckpointHook``, which writes in place, after removing.

    Raises:
        TrainingError: A checkpoint cannot be written; names the last complete one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("backend_args", dict(backend="AtomicLocalBackend"))
        super().__init__(*args, **kwargs)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        previous = getattr(self, "last_ckpt", None) or runner.message_hub.runtime_info.get("last_ckpt")
        backend: Any = self.file_backend  # type: ignore[has-type]
        postponed = _PostponedRemoval(backend)
        self.file_backend = postponed
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        except OSError as error:
            rest = f"the last complete one is {previous}" if previous else "there is none yet"
            raise TrainingError(
                f"checkpoint {self.last_ckpt} cannot be written ({error.strerror or error}); {rest}. Make room, then "
                "continue with --resume."
            ) from error
        finally:
            self.file_backend = backend
        for path in postponed.removed:
            backend.remove(path)


class _PostponedRemoval:
    """A storage backend that only notes which files to remove."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.removed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.removed.append(path)
