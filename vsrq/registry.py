"""The registry nodes vsrq fills: children of mmagic's, scope ``vsrq``.

A name is looked up here first, then in mmagic, then in MMEngine, so that an mmagic config works unchanged
with ``default_scope='vsrq'`` and gets the step-wise networks.
"""

from vsrq.compat import ensure_mmagic

ensure_mmagic()

from mmagic import registry as mmagic_registry  # noqa: E402
from mmengine.registry import Registry  # noqa: E402


def _child(parent: Registry, location: str) -> Registry:
    return Registry(parent.name, parent=parent, scope="vsrq", locations=[location])


MODELS = _child(mmagic_registry.MODELS, "vsrq.models")
DATASETS = _child(mmagic_registry.DATASETS, "vsrq.datasets")
TRANSFORMS = _child(mmagic_registry.TRANSFORMS, "vsrq.datasets")
METRICS = _child(mmagic_registry.METRICS, "vsrq.evaluation")
HOOKS = _child(mmagic_registry.HOOKS, "vsrq.engine")
LOOPS = _child(mmagic_registry.LOOPS, "vsrq.engine")
