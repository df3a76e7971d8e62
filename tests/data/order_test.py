"""Orders are pure functions of the position: shared, scheduled, resumed exactly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.data.order import Curriculum, Shard, order
from tooltrain.errors import UserError
from tooltrain.types import Trace

TRACES = [
    Trace(f"t{i}", "s", "w", "q", (), (), (), {"calls": (7 * i) % 5, "depth": 1}) for i in range(20)
]


def _first(dataset, count: int) -> list[int]:
    return [int(dataset[i]) for i in range(count)]


@given(st.integers(1, 30), st.integers(0, 9), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_the_shards_of_an_epoch_are_its_traces_once_each(num_traces, seed, count):
    taken = []
    for index in range(count):
        mine = order(num_traces, seed=seed, shard=Shard(index, count))
        here = len(range(index, num_traces, count))
        taken += _first(mine, here)
    assert sorted(taken) == list(range(num_traces))


def test_a_shard_is_every_so_manieth_of_the_whole_order():
    whole = _first(order(20, seed=3), 20)
    for index in range(4):
        assert _first(order(20, seed=3, shard=Shard(index, 4)), 5) == whole[index::4]


def test_epochs_are_shuffled_anew_and_the_same_each_time():
    taken = _first(order(20, seed=3), 60)
    assert taken == _first(order(20, seed=3), 60)
    assert taken[:20] != taken[20:40]
    assert sorted(taken[20:40]) == list(range(20))
    assert taken != _first(order(20, seed=4), 60)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_shard_is_one_of_its_count(index):
    with pytest.raises(ValueError, match=r"must be in \[0, count\)"):
        Shard(index, 2)


def test_a_curriculum_begins_with_the_easy_and_ends_with_all():
    curriculum = Curriculum("calls", ramp_examples=400, start=0.2)
    easiest = curriculum.easiest_first(TRACES)
    hardness = np.array([t.difficulty["calls"] for t in TRACES])
    assert (np.diff(hardness[easiest]) >= 0).all()
    taken = _first(order(20, seed=0, easiest_first=easiest, curriculum=curriculum), 440)
    assert set(hardness[taken[:40]]) <= {0, 1}  # a fifth to a quarter of the traces
    assert hardness[taken[:100]].mean() < hardness[taken[300:400]].mean()
    for at in range(0, 400, 13):
        allowed = int(np.ceil((0.2 + 0.8 * at / 400) * 20))
        assert taken[at] in easiest[:allowed]
    assert sorted(taken[400:420]) == sorted(taken[420:]) == list(range(20))


def test_the_shards_of_a_curriculum_make_up_its_order():
    curriculum = Curriculum("calls", ramp_examples=30)
    more = {"seed": 1, "curriculum": curriculum, "easiest_first": curriculum.easiest_first(TRACES)}
    whole = _first(order(20, **more), 60)
    parts = [_first(order(20, shard=Shard(i, 3), **more), 20) for i in range(3)]
    assert [part[i] for i in range(20) for part in parts] == whole


def test_a_curriculum_by_what_no_one_measured_is_one_clear_error():
    with pytest.raises(UserError, match=r"by 'width': trace t0 has only calls, depth"):
        Curriculum("width", ramp_examples=5).easiest_first(TRACES)
    bare = [dataclasses.replace(TRACES[0], difficulty={})]
    with pytest.raises(UserError, match="has only no measures"):
        Curriculum("calls", ramp_examples=5).easiest_first(bare)
    with pytest.raises(UserError, match=r"start in \(0, 1\]"):
        Curriculum("calls", ramp_examples=5, start=0.0)
