"""Calls over the budget are not executed, and say so; those within it are as without."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.env.budget import Budget, Session
from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import Environment, open_environment
from tooltrain.env.schema import Tool
from tooltrain.types import Call, MalformedCall


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    path = tmp_path_factory.mktemp("budget") / "c.sqlite"
    with CacheWriter.create(path) as writer:
        writer.add_tool(Tool("t", "", {"type": "object", "properties": {"x": {"type": "integer"}}}))
        for x in range(9):
            writer.add_entry("t", {"x": x}, x)
    return open_environment(str(path))


CALLS = [Call("t", {"x": x}) for x in range(9)]


def test_a_turn_has_its_budget_and_the_episode_another(environment):
    session = Session(environment, Budget(calls_per_turn=2, calls_per_episode=4))
    first = session.execute(CALLS[:3])
    assert [o.kind for o in first] == ["ok", "ok", "over_budget"]
    assert first[2].content["error"]["message"] == (
        "a turn may make 2 calls, this one was number 3; make it in the next turn"
    )
    assert not session.spent
    second = session.execute(CALLS[3:6])
    assert [o.kind for o in second] == ["ok", "over_budget", "over_budget"]
    assert second[1].content["error"]["message"] == (
        "the episode's 4 calls are spent; answer with what was found"
    )
    assert session.spent
    assert [o.kind for o in session.execute(CALLS[:1])] == ["over_budget"]


@given(
    st.integers(1, 5),
    st.integers(1, 9),
    st.lists(
        st.lists(st.sampled_from([*CALLS, MalformedCall("bad_json", "x")]), max_size=6), max_size=5
    ),
)
def test_budgets_hold_and_change_no_answer(environment, per_turn, per_episode, turns):
    session = Session(environment, Budget(per_turn, per_episode))
    executed = 0
    for calls in turns:
        found = session.execute(calls)
        assert len(found) == len(calls)
        kept = [o for o in found if o.kind != "over_budget"]
        assert kept == environment.execute_all(calls[: len(kept)])
        assert len(kept) <= per_turn
        executed += len(kept)
    assert executed <= per_episode
    assert session.num_calls == sum(map(len, turns))


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0)])
def test_a_budget_of_nothing_is_an_error(sizes):
    with pytest.raises(ValueError, match="must be at least 1, got"):
        Budget(*sizes)
