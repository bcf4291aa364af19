import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsrq.deploy.plan import Plan, Port, Schedule, StepSpec
from vsrq.errors import CheckpointError

FRAME = Port("frame", 3)
PLAN = Plan(
    kind="window",
    architecture="EDVRNet",
    scale=4,
    multiple=4,
    minimum=64,
    steps=(
        StepSpec("encode@0", (FRAME,), (Port("l2", 8, "1/2"), Port("state:conv.x", 8, "1", "uint8"))),
        StepSpec("encode@1", (FRAME, Port("state:conv.x", 8)), (Port("l2", 8, "1/2"), Port("state:conv.x", 8))),
        StepSpec("reconstruct", (FRAME, Port("gate_1", 1, "0")), (Port("hr", 3, "4"),)),
    ),
    num_frames=5,
    centre=2,
    schedules={"encode": Schedule(("encode@0",), ("encode@1", "encode@1", "encode@0"))},
)


def test_shapes_follow_the_frame():
    assert FRAME.shape(36, 20) == (1, 3, 36, 20)
    assert Port("l3", 8, "1/4").shape(36, 20) == (1, 8, 9, 5)
    assert Port("hr", 3, "4").shape(36, 20) == (1, 3, 144, 80)
    assert Port("gate", 1, "0").shape(36, 20) == (1, 1, 1, 1)


def test_a_plan_survives_json():
    assert Plan.from_json(json.loads(json.dumps(PLAN.to_json()))) == PLAN


@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_padding_is_the_least_that_fits(height, width):
    for size, padded in zip((height, width), PLAN.padded(height, width), strict=True):
        assert padded % 4 == 0
        assert padded >= max(size, 64)
        assert padded - 4 < max(size, 64)


def test_a_schedule_begins_and_then_repeats():
    schedule = Schedule(("a", "b"), ("c", "d", "e"))
    assert "".join(schedule.graph(call) for call in range(9)) == "abcdecdec"


def test_steps_that_share_graphs_are_found_by_their_own_name():
    assert PLAN.has("encode")
    assert PLAN.inputs("encode") == [FRAME]
    assert not PLAN.has("flow")


def test_an_unknown_step_names_the_nearest():
    with pytest.raises(CheckpointError, match="no step 'reconstruc'; did you mean 'reconstruct'"):
        PLAN.step("reconstruc")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda data: data.pop("steps"),
        lambda data: data.update(surprise=1),
        lambda data: data["steps"][0].pop("inputs"),
        lambda data: data["steps"][0]["inputs"][0].update(colour="red"),
        lambda data: data.pop("schedules"),
        lambda data: data.update(branches=None),
    ],
)
def test_a_broken_plan_is_refused(break_it):
    data = json.loads(json.dumps(PLAN.to_json()))
    break_it(data)
    with pytest.raises(CheckpointError, match=r"the manifest's plan is broken .*; export the bundle again"):
        Plan.from_json(data)
