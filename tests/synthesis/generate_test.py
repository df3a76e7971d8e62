"""The demo's synthesis on the real cache: splits share nothing, every trace can be played."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import re
import subprocess
import sys

import pytest

from tooltrain.data.pipeline import gold_views
from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import open_environment
from tooltrain.env.projection import leaf_values
from tooltrain.errors import UserError
from tooltrain.synthesis.derive import at_path, underivable
from tooltrain.synthesis.drafts import Draft
from tooltrain.synthesis.generate import (
    TEST,
    TEST_WORKFLOWS,
    TRAIN,
    TRAIN_RL,
    VALIDATION,
    Settings,
    _split,
    generate,
)
from tooltrain.synthesis.provenance import is_specific, value_text
from tooltrain.synthesis.statements import is_name
from tooltrain.synthesis.workflow import Workflow
from tooltrain.types import Call

# Words of enumerations and kinds of places; no one is an entity.
CATEGORIES = {"city", "landmark", "hotel", "district", "airport", "region"}
CATEGORIES |= {"trending", "price", "popularity", "distance"}
PAIRS = [
    *itertools.combinations((TRAIN, TRAIN_RL, VALIDATION, TEST), 2),
    *((name, TEST_WORKFLOWS) for name in (TRAIN, TRAIN_RL, VALIDATION)),
]


@pytest.fixture(scope="module")
def splits(booking_generated):
    return booking_generated.splits


def _calls(traces, environment) -> set[tuple[str, str]]:
    return {
        (call.name, environment.tools[call.name].canonical(call.arguments))
        for trace in traces
        for call in trace.calls
    }


def _bound_and_named(traces) -> tuple[set[str], set[str]]:
    bound_values, names = set(), set()
    for trace in traces:
        for call in trace.calls:
            bound = {binding.argument for binding in call.bindings}
            for argument, value in call.arguments.items():
                text = value_text(value)
                if argument in bound and is_specific(text):
                    bound_values.add(text.casefold())
                elif argument not in bound and is_name(value):
                    names.add(text.casefold())
    return bound_values - CATEGORIES, names - CATEGORIES


def test_every_split_has_traces(splits):
    assert set(splits) == {TRAIN, TRAIN_RL, VALIDATION, TEST, TEST_WORKFLOWS}
    assert all(len(traces) > 20 for traces in splits.values())


@pytest.mark.parametrize("pair", PAIRS)
def test_splits_share_no_call(splits, booking_environment, pair):
    one, two = (_calls(splits[name], booking_environment) for name in pair)
    assert one
    assert one.isdisjoint(two)


@pytest.mark.parametrize("pair", PAIRS)
def test_splits_share_no_id_and_no_name(splits, pair):
    (ids, names), (other_ids, other_names) = (_bound_and_named(splits[name]) for name in pair)
    assert ids & other_ids == set()
    assert names & other_names == set()


def test_no_id_of_a_test_trace_stands_in_a_training_call(splits):
    test_ids = _bound_and_named([*splits[TEST], *splits[TEST_WORKFLOWS]])[0]
    given = {
        text.casefold()
        for trace in (*splits[TRAIN], *splits[TRAIN_RL])
        for call in trace.calls
        for value in call.arguments.values()
        if (text := value_text(value)) is not None
    }
    assert test_ids.isdisjoint(given)


def test_held_out_workflows_are_played_in_their_split_only(splits):
    held_out = {trace.workflow for trace in splits[TEST_WORKFLOWS]}
    for name in (TRAIN, TRAIN_RL, VALIDATION, TEST):
        assert held_out.isdisjoint(trace.workflow for trace in splits[name])


def test_every_trace_can_be_played_from_its_views(splits, booking_environment):
    for trace in itertools.chain(*splits.values()):
        views = gold_views(trace, booking_environment)
        assert underivable(trace, views, booking_environment.tools) == []
        for call, response in zip(trace.calls, trace.responses, strict=True):
            found = booking_environment.execute(Call(call.name, call.arguments), trace.tools)
            assert found.ok
            assert found.content == response
            for binding in call.bindings:
                assert binding.source in call.depends_on
                leaf = at_path(trace.responses[binding.source], binding.path)
                assert value_text(leaf) == value_text(call.arguments[binding.argument])


def test_a_bound_value_is_a_leaf_of_its_source_s_view(splits, booking_environment):
    for trace in splits[TEST]:
        views = gold_views(trace, booking_environment)
        for call in trace.calls:
            for binding in call.bindings:
                shown = {value_text(v) for _, v in leaf_values(json.loads(views[binding.source]))}
                assert value_text(call.arguments[binding.argument]) in shown


def test_queries_name_no_tool_and_no_opaque_id(splits, booking_environment):
    opaque = re.compile(r"(?=.*\d)\S{5,}|\S{16,}|-?\d+\.\d+")
    for trace in itertools.chain(*splits.values()):
        assert not any(name in trace.query for name in booking_environment.tools)
        assert "{" not in trace.query
        for call in trace.calls:
            for binding in call.bindings:
                text = value_text(call.arguments[binding.argument])
                assert not (opaque.fullmatch(text) and text in trace.query), trace.query


def test_offered_tools_hold_those_needed_and_distractors_in_any_order(splits):
    first = set()
    for trace in splits[TRAIN]:
        needed = {call.name for call in trace.calls}
        assert needed <= set(trace.tools)
        assert len(set(trace.tools)) == len(trace.tools) == len(needed) + 2
        first.add(trace.tools[0] in needed)
    assert first == {True, False}


def test_ids_count_through_a_split(splits):
    for name, traces in splits.items():
        assert [trace.id for trace in traces] == [f"{name}-{i}" for i in range(len(traces))]


FEW = Settings("booking", max_calls=3, min_support=60, max_fillings=40, queries_per_filling=2)


@pytest.mark.slow
def test_the_same_seed_generates_the_same_traces_and_another_others(booking_environment):
    one, two = (generate(booking_environment, FEW, progress=False) for _ in range(2))
    assert one == two
    other = generate(booking_environment, dataclasses.replace(FEW, seed=1), progress=False)
    assert other.splits != one.splits


_PRINT_DIGEST = """
import hashlib, sys
from tooltrain.env.environment import open_environment
from tooltrain.synthesis.generate import Settings, generate
environment = open_environment(sys.argv[1], max_tokens=80, max_items=2, max_value_chars=64)
settings = Settings("booking", max_calls=3, min_support=60, max_fillings=40)
made = generate(environment, settings, progress=False)
print(hashlib.sha256(repr(list(made.splits.items())).encode()).hexdigest())
"""


@pytest.mark.slow
def test_processes_with_other_hash_seeds_generate_the_same_traces(booking_cache):
    digests = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", _PRINT_DIGEST, str(booking_cache)]
        done = subprocess.run(
            command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1
    assert len(digests.pop().strip()) == len(hashlib.sha256().hexdigest())


def test_a_cache_without_samples_is_one_clear_error(tmp_path):
    with CacheWriter.create(tmp_path / "c.sqlite"):
        pass
    environment = open_environment(
        str(tmp_path / "c.sqlite"), max_tokens=9, max_items=1, max_value_chars=9
    )
    with pytest.raises(UserError, match="holds no samples to mine workflows from"):
        generate(environment, FEW)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("validation_share", 0.0),
        ("test_share", 0.95),
        ("train_rl_share", -0.1),
        ("max_calls", 1),
        ("queries_per_filling", 0),
        ("distractors", -1),
        ("held_out_workflows", 1.0),
    ],
)
def test_a_setting_out_of_range_is_one_clear_error(field, value):
    with pytest.raises(UserError, match=f"config.synthesis: .*{field}"):
        Settings("booking", **{field: value})


def test_a_filling_without_an_entity_is_counted_as_such():
    workflow = Workflow(("find",), ())
    names = [{"rome"}, {"oslo"}, {"rome", "oslo"}, set()]
    drafts = [Draft(workflow, (), (), (), frozenset(entities)) for entities in names]
    count = collections.Counter({workflow.id: len(drafts)})
    rejected: collections.Counter[str] = collections.Counter()
    splits = _split(drafts, count, frozenset(), Settings("booking"), rejected)
    assert rejected["no entity to split by"] == 1
    assert sum(map(len, splits.values())) + sum(rejected.values()) == len(drafts)
