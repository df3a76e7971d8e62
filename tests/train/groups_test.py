from __future__ import annotations

import numpy as np
import pytest

from tooltrain.train.credit import choose_credit
from tooltrain.train.groups import Groups, draw_until_enough_teach, judge
from tooltrain.types import EndReason, Rollout, Trace

SAME, DIFFERENT = (0.5, 0.5, 0.5), (0.0, 0.5, 1.0)


def make_groups(rewards, first: int = 0) -> Groups:
    """A group of rollouts of one turn for each row of rewards; traces are numbered."""
    rewards = np.array(rewards, np.float32)
    traces = [
        Trace(str(first + g), "suite", "workflow", "query", (), (), ()) for g in range(len(rewards))
    ]
    nothing = np.zeros(0, np.int32)
    played = [
        Rollout(first + g, i, nothing, nothing > 0, nothing * 0.0, (), 1, EndReason.FINISHED)
        for g, group in enumerate(rewards)
        for i in range(len(group))
    ]
    flat = rewards.ravel()
    return Groups(traces, played, flat, flat[:, None], {"atomic": flat * 0.5})


@pytest.fixture
def credit(config):
    return choose_credit(config.grpo)


def draw_from(*batches):
    """The drawing of these batches, and how often it was asked."""
    asked = []

    def draw(number: int) -> Groups:
        asked.append(number)
        return make_groups(batches[number], first=10 * number)

    return draw, asked


def names(groups: Groups) -> list[str]:
    return [trace.id for trace in groups.traces]


def test_groups_are_taken_with_all_that_is_theirs():
    groups = make_groups([SAME, DIFFERENT, (0.25, 0.0, 0.0)]).take(np.array([2, 0]))
    assert groups.shape == (2, 3)
    assert names(groups) == ["2", "0"]
    assert [(r.prompt, r.generation) for r in groups.played] == [
        *((2, 0), (2, 1), (2, 2)),
        *((0, 0), (0, 1), (0, 2)),
    ]
    assert groups.rewards.tolist() == [0.25, 0.0, 0.0, 0.5, 0.5, 0.5]
    assert groups.terms["atomic"].tolist() == [0.125, 0.0, 0.0, 0.25, 0.25, 0.25]
    assert groups.trace_of(4).id == "0"
    assert groups.rollouts_of(np.array([1])).tolist() == [3, 4, 5]


def test_a_group_teaches_where_its_rollouts_differ(credit):
    judged = judge(make_groups([SAME, DIFFERENT]), credit)
    assert judged.no_variance.tolist() == [True, False]
    assert judged.teaches.tolist() == [False, True]
    np.testing.assert_allclose(judged.advantages[:, 0], [0, 0, 0, -0.5, 0, 0.5])


def test_without_rounds_what_was_drawn_stays_as_it_is(credit):
    draw, asked = draw_from([SAME, DIFFERENT])
    groups, judged, metrics = draw_until_enough_teach(draw, credit, 0)
    assert asked == [0]
    assert names(groups) == ["0", "1"]
    assert judged.teaches.tolist() == [False, True]
    assert metrics == {}


def test_prompts_are_drawn_until_enough_groups_teach(credit):
    draw, asked = draw_from([SAME, DIFFERENT], [SAME, SAME], [DIFFERENT, DIFFERENT], [SAME] * 2)
    groups, judged, metrics = draw_until_enough_teach(draw, credit, 5)
    assert asked == [0, 1, 2]
    assert names(groups) == ["1", "20"]  # the first two that teach
    assert judged.teaches.tolist() == [True, True]
    assert metrics == {"groups_drawn": 6, "drawn_reward": 0.5}


def test_when_rounds_are_used_up_others_stand_in(credit):
    draw, asked = draw_from([SAME, SAME], [SAME, DIFFERENT])
    groups, judged, metrics = draw_until_enough_teach(draw, credit, 1)
    assert asked == [0, 1]
    assert names(groups) == ["11", "0"]
    assert judged.teaches.tolist() == [True, False]
    assert metrics["groups_drawn"] == 4
