"""Empty ``vsrq`` nodes for the registries the Runner looks into but vsrq adds (almost) nothing to.

MMEngine resolves ``default_scope='vsrq'`` in every registry it touches. Where a tree has no node of that
scope it warns and falls back to its own root, so that mmagic's entries (log processor, optimizer
constructors, visualizers) would not be found. With a node the lookup climbs vsrq -> mmagic -> mmengine.
"""

from __future__ import annotations

from vsrq.compat import ensure_mmagic

ensure_mmagic()

# A lookup climbs to the parents' entries but does not import them.
import mmagic.datasets  # noqa: E402
import mmagic.engine  # noqa: E402
import mmagic.evaluation  # noqa: E402
import mmagic.models  # noqa: E402
import mmagic.visualization  # noqa: E402, F401
from mmagic import registry as mmagic_registry  # noqa: E402
from mmengine.registry import Registry  # noqa: E402


def _child(parent: Registry) -> Registry:
    return Registry(parent.name, parent=parent, scope="vsrq", locations=["vsrq.engine"])


RUNNERS = _child(mmagic_registry.RUNNERS)
RUNNER_CONSTRUCTORS = _child(mmagic_registry.RUNNER_CONSTRUCTORS)
LOG_PROCESSORS = _child(mmagic_registry.LOG_PROCESSORS)
OPTIMIZERS = _child(mmagic_registry.OPTIMIZERS)
OPTIM_WRAPPERS = _child(mmagic_registry.OPTIM_WRAPPERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmagic_registry.OPTIM_WRAPPER_CONSTRUCTORS)
PARAM_SCHEDULERS = _child(mmagic_registry.PARAM_SCHEDULERS)
DATA_SAMPLERS = _child(mmagic_registry.DATA_SAMPLERS)
MODEL_WRAPPERS = _child(mmagic_registry.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = _child(mmagic_registry.WEIGHT_INITIALIZERS)
EVALUATORS = _child(mmagic_registry.EVALUATORS)
VISUALIZERS = _child(mmagic_registry.VISUALIZERS)
VISBACKENDS = _child(mmagic_registry.VISBACKENDS)
