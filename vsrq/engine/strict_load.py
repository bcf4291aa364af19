"""Hook: a checkpoint that does not fit the model stops the run."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsrq.engine.unwrap import unwrap
from vsrq.errors import CheckpointError
from vsrq.registry import HOOKS

_LISTED = 8


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Refuse checkpoints with missing, unexpected or differently shaped tensors.

    MMEngine's Runner loads what fits and only logs the rest, for ``load_from`` and for a resume.

    Raises:
        CheckpointError: With the names that do not fit.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes with the model's."""
        model = unwrap(runner.model)
        wanted = model.state_dict()
        given = {name.removeprefix("module."): v for name, v in checkpoint.get("state_dict", checkpoint).items()}
        problems = {
            "missing": [name for name in wanted if name not in given],
            "unexpected": [name for name in given if name not in wanted],
            "of another shape": [n for n, v in wanted.items() if n in given and given[n].shape != v.shape],
        }
        told = [f"{len(names)} {what} ({_list(names)})" for what, names in problems.items() if names]
        if told:
            raise CheckpointError(
                f"the checkpoint does not fit {type(model).__name__}: {'; '.join(told)}. Use the config it was trained "
                "with; for weights of a bare network use model.float_checkpoint."
            )


def _list(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
