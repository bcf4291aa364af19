"""Keep the centre frame of a window as ground truth."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from vsrq.errors import DataError
from vsrq.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CentreGroundTruth(BaseTransform):
    """Replace the list ``results['gt']`` by its centre frame; for sliding-window networks, after the degradation.

    Raises:
        DataError: When called with an even number of frames, which has no centre.
    """

    def transform(self, results: dict) -> dict:
        """Drop all other frames of the ground truth."""
        frames = results["gt"]
        if len(frames) % 2 == 0:
            raise DataError(
                f"{results.get('key', 'a window')}: {len(frames)} frames have no centre; take an odd number of them"
            )
        results["gt"] = frames[len(frames) // 2]
        results["num_output_frames"] = 1
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
