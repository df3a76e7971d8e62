"""Draws: complete, uniform, by index; counts are exact; errors name workflow and edge."""

from __future__ import annotations

import collections
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.synthesis import small_caches
from tooltrain.env.schema import Tool
from tooltrain.synthesis import draws
from tooltrain.synthesis.compile import Compiled
from tooltrain.synthesis.draws import Filler, Sampler
from tooltrain.synthesis.network import NoFilling, network_of
from tooltrain.synthesis.philox import key_of
from tooltrain.synthesis.sampler import Recorded, fillings
from tooltrain.synthesis.workflow import SlotEdge, WorkflowError, canonical

KEY = key_of("test")
NUMBER = {"type": "number"}


def _tool(name: str) -> Tool:
    return Tool(name, "", {"properties": {"x": NUMBER, "y": NUMBER}, "required": []})


def _compiled(recorded: dict) -> Compiled:
    return Compiled(small_caches.cache_of([_tool(name) for name in recorded], recorded))


def _drawn(filler: Filler, count: int) -> collections.Counter:
    return collections.Counter(map(tuple, filler.draw(KEY, np.arange(count)).tolist()))


# --- completeness -------------------------------------------------------------------


def _agrees_with_brute_force(tools, recorded, workflow, *, max_rows):
    cache = small_caches.cache_of(tools, recorded)
    every, distinct = small_caches.brute_force(workflow, cache)
    compiled = Compiled(cache)
    if not distinct:
        with pytest.raises(NoFilling) as error:
            Filler(workflow, compiled, max_rows)
        assert f"workflow {workflow.id} cannot be filled" in str(error.value)
        return None
    filler = Filler(workflow, compiled, max_rows)
    found = _drawn(filler, 60 * len(distinct) if len(distinct) < 60 else 200)
    assert set(found) <= distinct
    if len(distinct) < 60 and filler.kind != "searched":
        assert set(found) == distinct  # each is missed with probability e^-60 by uniform draws
    if filler.count is not None:
        assert filler.count == len(every)
        assert filler.distinct_count == len(distinct)
    return filler


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(small_caches.schemas(), small_caches.entries(), small_caches.workflows())
def test_draws_are_the_fillings_of_brute_force_and_so_are_the_counts(tools, recorded, workflow):
    _agrees_with_brute_force(tools, recorded, workflow, max_rows=10_000)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(small_caches.schemas(), small_caches.entries(), small_caches.workflows())
def test_without_lists_of_fillings_draws_that_break_the_rule_are_drawn_again(
    tools, recorded, workflow
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draws, "_LISTED", 0)
        patch.setattr(draws, "_PROBES", 0)
        cache = small_caches.cache_of(tools, recorded)
        assume(small_caches.brute_force(workflow, cache)[1])
        _agrees_with_brute_force(tools, recorded, workflow, max_rows=10_000)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(small_caches.schemas(), small_caches.entries(3), small_caches.workflows())
def test_what_is_too_large_for_a_table_is_searched_completely(tools, recorded, workflow):
    filler = _agrees_with_brute_force(tools, recorded, workflow, max_rows=0)
    assert filler is None or filler.kind in ("tree", "listed", "searched")


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(small_caches.schemas(), small_caches.entries(), small_caches.workflows())
def test_the_plain_enumeration_and_the_compiled_sampler_agree(tools, recorded, workflow):
    cache = small_caches.cache_of(tools, recorded)
    plain = list(fillings(workflow, Recorded(cache)))
    try:
        filler = Filler(workflow, Compiled(cache))
    except NoFilling:
        assert plain == []
    else:
        assert filler.distinct_count == len(plain)
        assert set(_drawn(filler, 100)) <= set(plain)


# --- uniformity ---------------------------------------------------------------------

# 30 calls of a produce 0..9 unevenly; b takes one value, its response feeds c.
_UNEVEN = {
    "a": [({"x": i}, {"id": i % 10, "list": [{"id": i % 7}]}) for i in range(30)],
    "b": [({"x": i % 10, "y": i}, {"id": i % 4}) for i in range(25)],
    "c": [({"x": i % 4, "y": i % 7}, {}) for i in range(12)],
}
_WORKFLOWS = {
    "tree": canonical("abc", [SlotEdge(1, "x", 0, ("id",)), SlotEdge(2, "x", 1, ("id",))]),
    "joined": canonical(
        "abc",
        [
            SlotEdge(1, "x", 0, ("id",)),
            SlotEdge(2, "x", 1, ("id",)),
            SlotEdge(2, "y", 0, ("list", "[]", "id")),
        ],
    ),
    "listed": canonical("aab", [SlotEdge(2, "x", 0, ("id",)), SlotEdge(2, "y", 1, ("id",))]),
    "apart": canonical("ab", []),
}


def _chi_square_p(filler: Filler, draws_each: int = 40) -> float:
    count = filler.distinct_count
    found = _drawn(filler, draws_each * count)
    observed = [*found.values(), *[0] * (count - len(found))]
    return scipy.stats.chisquare(observed).pvalue


@pytest.mark.parametrize("kind", _WORKFLOWS)
def test_draws_are_uniform_by_chi_square(kind):
    filler = Filler(_WORKFLOWS[kind], _compiled(_UNEVEN))
    assert filler.kind == {"apart": "tree"}.get(kind, kind)
    assert 20 < filler.distinct_count < 10_000
    assert 1e-3 < _chi_square_p(filler) < 1 - 1e-3


def test_draws_are_uniform_where_the_rule_rejects_some(monkeypatch):
    monkeypatch.setattr(draws, "_LISTED", 0)
    filler = Filler(canonical("aab", [SlotEdge(2, "x", 0, ("id",))]), _compiled(_UNEVEN))
    assert filler.kind == "tree"
    assert filler.distinct_count < filler.count
    assert 1e-3 < _chi_square_p(filler, 20) < 1 - 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_draws_are_uniform_on_random_caches(seed):
    rng = np.random.default_rng(seed)
    recorded = {
        name: [
            ({"x": int(rng.integers(6)), "y": i}, {"id": int(rng.integers(6))}) for i in range(15)
        ]
        for name in "ab"
    }
    flow = canonical("aabb", [SlotEdge(2, "x", 0, ("id",)), SlotEdge(3, "x", 1, ("id",))])
    filler = Filler(flow, _compiled(recorded))
    assert 1e-3 < _chi_square_p(filler, 10) < 1 - 1e-3


# --- counts -------------------------------------------------------------------------


def test_counts_are_exact_beyond_64_bits():
    compiled = _compiled({"a": [({"x": i}, {}) for i in range(1001)]})
    filler = Filler(canonical("a" * 12, []), compiled)
    assert filler.count == 1001**12
    assert filler.distinct_count is None  # 4 million ways to merge 12 equal slots
    assert Filler(canonical("a" * 5, []), compiled).distinct_count == math.perm(1001, 5)


def test_no_call_fills_two_of_twelve_equal_slots():
    compiled = _compiled({"a": [({"x": i}, {}) for i in range(40)]})
    drawn = Filler(canonical("a" * 12, []), compiled).draw(KEY, np.arange(500))
    assert all(len(set(row)) == 12 for row in drawn.tolist())


def test_fewer_calls_than_equal_slots_is_an_error_naming_the_tool():
    compiled = _compiled({"a": [({"x": 1}, {})]})
    with pytest.raises(NoFilling, match="one recorded call of a fills two slots"):
        Filler(canonical("aa", []), compiled)


def test_few_distinct_fillings_among_many_are_found():
    # 2,000^2 pairs of b over one a; only two entries of a, so that aa must take both.
    recorded = {
        "a": [({"x": i}, {"id": 0}) for i in range(2)],
        "b": [({"x": 0, "y": i}, {}) for i in range(300)],
    }
    flow = canonical("aabb", [SlotEdge(2, "x", 0, ("id",)), SlotEdge(3, "x", 1, ("id",))])
    filler = Filler(flow, _compiled(recorded))
    assert filler.count == 4 * 300**2
    assert filler.distinct_count == 2 * 300 * 299
    drawn = filler.draw(KEY, np.arange(2000))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert (drawn[:, 2] != drawn[:, 3]).all()


# --- by index -----------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_a_filling_is_a_function_of_its_index(indices):
    sampler = _SAMPLER
    batch = sampler.draw(indices)
    for row, index in enumerate(indices):
        workflow, filling = sampler.filling(index)
        assert sampler.workflows[batch.workflow[row]] == workflow
        assert tuple(batch.entries[row, : len(filling)]) == filling
        assert (batch.entries[row, len(filling) :] == -1).all()


def _sampler(**kwargs) -> Sampler:
    return Sampler(list(_WORKFLOWS.values()), _compiled(_UNEVEN), **({"seed": 0} | kwargs))


_SAMPLER = _sampler()


def test_another_seed_or_set_of_workflows_gives_other_fillings():
    indices = np.arange(200)
    base = _SAMPLER.draw(indices)
    again = _sampler().draw(indices)
    assert (base.entries == again.entries).all()
    assert (base.workflow == again.workflow).all()
    assert (_sampler(seed=1).draw(indices).entries != base.entries).any()
    fewer = Sampler(list(_WORKFLOWS.values())[:2], _compiled(_UNEVEN), seed=0)
    assert (fewer.draw(indices).entries != base.entries[:, :3]).any()


def test_weights_say_how_often_a_workflow_comes():
    sampler = _sampler(weights=[0, 1, 0, 3])
    counts = np.bincount(sampler.draw(np.arange(20_000)).workflow, minlength=4)
    assert counts[0] == counts[2] == 0
    assert abs(counts[3] / 20_000 - 0.75) < 0.02


@pytest.mark.parametrize("weights", [[1.0], [0, 0, 0, 0], [-1, 1, 1, 1]])
def test_weights_that_cannot_be_are_an_error(weights):
    with pytest.raises(ValueError, match="weights must be one number >= 0 a workflow"):
        _sampler(weights=weights)


# --- errors -------------------------------------------------------------------------


def test_the_edge_that_no_call_fits_is_named():
    recorded = {"a": [({"x": 1}, {"id": 5})], "b": [({"x": 6}, {})], "c": [({"x": 5}, {})]}
    flow = canonical("abc", [SlotEdge(1, "x", 0, ("id",)), SlotEdge(2, "x", 0, ("id",))])
    with pytest.raises(NoFilling) as error:
        Filler(flow, _compiled(recorded))
    message = str(error.value)
    assert flow.id in message
    assert "the edge id of a (slot 0) -> x of b (slot 1)" in message
    assert "c (slot 2)" not in message


def test_edges_that_hold_alone_but_not_together_are_named():
    recorded = {
        "a": [({"x": 1}, {"id": 1}), ({"x": 2}, {"id": 2})],
        "b": [({"x": 1}, {"id": 1}), ({"x": 2}, {"id": 2})],
        "c": [({"x": 1, "y": 2}, {}), ({"x": 2, "y": 1}, {})],
    }
    flow = canonical(
        "abc",
        [
            SlotEdge(1, "x", 0, ("id",)),
            SlotEdge(2, "x", 0, ("id",)),
            SlotEdge(2, "y", 1, ("id",)),
        ],
    )
    for max_rows in (0, 1000):
        with pytest.raises(NoFilling, match="cannot be filled") as error:
            Filler(flow, _compiled(recorded), max_rows)
        assert flow.id in str(error.value)
        assert "(slot " in str(error.value)


# a is on two cycles: over b and c only its first call can be filled, over d and e its second.
_APART = {
    "a": [({"x": 0}, {"id": 0}), ({"x": 1}, {"id": 1})],
    "b": [({"x": 0}, {"id": 0}), ({"x": 1}, {"id": 1})],
    "c": [({"x": 0, "y": 0}, {}), ({"x": 1, "y": 0}, {}), ({"x": 0, "y": 1}, {})],
    "d": [({"x": 0}, {"id": 0}), ({"x": 1}, {"id": 1})],
    "e": [({"x": 1, "y": 1}, {}), ({"x": 1, "y": 0}, {}), ({"x": 0, "y": 1}, {})],
}
_TWO_CYCLES = canonical(
    "abcde",
    [
        SlotEdge(1, "x", 0, ("id",)),
        SlotEdge(2, "x", 0, ("id",)),
        SlotEdge(2, "y", 1, ("id",)),
        SlotEdge(3, "x", 0, ("id",)),
        SlotEdge(4, "x", 0, ("id",)),
        SlotEdge(4, "y", 3, ("id",)),
    ],
)


def test_cycles_that_can_be_filled_each_but_not_together_are_no_filling():
    compiled = _compiled(_APART)
    network = network_of(_TWO_CYCLES, compiled)
    assert [len(factor.rows) for factor in network.factors] == [1, 1]
    assert network.count == 0
    assert small_caches.brute_force(_TWO_CYCLES, compiled.cache)[0] == set()
    with pytest.raises(NoFilling, match="every edge alone can hold, all together cannot"):
        Filler(_TWO_CYCLES, compiled)


def test_a_tool_without_recorded_calls_is_named():
    with pytest.raises(NoFilling, match=r"no valid call of b \(slot 1\) is recorded"):
        Filler(canonical("ab", []), _compiled({"a": [({}, {})], "b": []}))


@pytest.mark.parametrize(
    ("slots", "edges", "fault"),
    [
        ("az", [], "slot 1 is of tool 'z', which the cache does not have; it has a, b"),
        ("ab", [SlotEdge(1, "w", 0, ("id",))], "-> w of b .* does not take; it takes x, y"),
        (
            "ab",
            [SlotEdge(1, "x", 0, ("id",)), SlotEdge(1, "x", 0, ("key",))],
            "another edge feeds already",
        ),
    ],
)
def test_a_bad_workflow_is_one_clear_error(slots, edges, fault):
    compiled = _compiled({"a": [({}, {"id": 1})], "b": [({"x": 1}, {})]})
    flow = canonical(slots, edges)
    with pytest.raises(WorkflowError, match=fault) as error:
        Sampler([flow], compiled, seed=0)
    assert f"workflow {flow.id}" in str(error.value)


def test_probes_do_not_change_what_is_drawn(monkeypatch):
    flow = canonical("aab", [SlotEdge(2, "x", 0, ("id",))])
    monkeypatch.setattr(draws, "_LISTED", 0)
    one = Filler(flow, _compiled(_UNEVEN)).draw(KEY, np.arange(50))
    two = Filler(flow, _compiled(_UNEVEN)).draw(KEY, np.arange(50)[::-1])
    assert (one == two[::-1]).all()
