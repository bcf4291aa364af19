import pytest
import torch

from vsrq.errors import DataError
from vsrq.evaluation import clip_motion, flow_error, warping_error
from vsrq.evaluation.temporal import visible_mask


def panning(frames=4, size=24, speed=2):
    """A texture that moves left by ``speed`` pixels per frame."""
    texture = torch.rand(3, size, size + speed * frames)
    return torch.stack([texture[..., speed * t : speed * t + size] for t in range(frames)])


def true_flow(speed):
    """The flow of a panning clip: to the left towards later frames; earlier ones are asked for in reverse order."""
    order = {}

    def flow(first, second):
        forward = order.setdefault("forward", True)
        order["forward"] = not forward
        result = torch.zeros(1, 2, *first.shape[-2:])
        result[:, 0] = -speed if forward else speed
        return result

    return flow


def test_a_clip_that_moves_as_the_truth_has_no_warping_error():
    clip = panning()
    motions = clip_motion(clip, true_flow(2))
    # what the border hides is no error
    assert all(m.visible[..., 2:].all() and not m.visible[..., :1].any() for m in motions)
    assert warping_error(clip, motions) == pytest.approx(0, abs=1e-9)


def test_flicker_is_measured():
    clip = panning()
    motions = clip_motion(clip, true_flow(2))
    flickering = clip.clone()
    flickering[1::2] += 0.1
    assert warping_error(flickering, motions) == pytest.approx(0.01, rel=1e-3)


def test_a_constant_error_is_none_of_time():
    clip = panning()
    motions = clip_motion(clip, true_flow(2))
    assert warping_error(clip + 0.3, motions) == pytest.approx(0, abs=1e-9)


def test_flow_that_does_not_return_is_hidden_and_edges_of_motion_are_left_out():
    there, back = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    back[..., 2:4, 2:4] = 3.0
    mask = visible_mask(there, back)
    assert mask[..., 2:4, 2:4].sum() == 0
    assert mask.sum() == 60
    there[..., 4:, :] = 1.0
    assert visible_mask(there, -there)[..., 4, :].sum() == 0


def test_flow_error_is_the_endpoint_distance_of_the_flows():
    clip = panning()
    motions = clip_motion(clip, true_flow(2))
    assert flow_error(clip, motions, lambda a, b: motions[0].flow) == 0
    assert flow_error(clip, motions, lambda a, b: motions[0].flow + 0.25) == pytest.approx(0.5)


@pytest.mark.parametrize("frames", [1, 3])
def test_clips_that_do_not_match_the_motions_are_refused(frames):
    motions = clip_motion(panning(4), true_flow(2))
    with pytest.raises(DataError, match=f"a clip of {frames} frames and 3 motions"):
        warping_error(panning(frames), motions)
