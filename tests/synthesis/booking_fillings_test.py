"""Workflows mined from the 1,000 samples: all can be filled, and every filling holds."""

from __future__ import annotations

import collections
import contextlib
import json

import numpy as np
import pytest

from benchmarks.synthesis_speed import of_samples
from benchmarks.workflow_templates import SAME, compare
from tooltrain.env.projection import generic
from tooltrain.synthesis.bindings import Feed
from tooltrain.synthesis.compile import Compiled, Group, groups_of
from tooltrain.synthesis.derive import at_path
from tooltrain.synthesis.drafts import of_filling
from tooltrain.synthesis.draws import Filler, Sampler
from tooltrain.synthesis.network import NoFilling
from tooltrain.synthesis.provenance import mine, value_text
from tooltrain.types import Call


@pytest.fixture(scope="module")
def cache(booking_environment):
    return booking_environment.cache


@pytest.fixture(scope="module")
def compiled(cache):
    return Compiled(cache)


@pytest.fixture(scope="module")
def workflows(cache):
    return of_samples(cache)


def test_all_mined_workflows_can_be_filled(workflows, compiled):
    compiled.prepare(workflows)
    counts = [Filler(workflow, compiled).distinct_count for workflow in workflows]
    assert len(counts) > 200
    assert min(counts) >= 1


def test_every_sample_is_a_witness_of_its_own_edges(cache, compiled):
    tools = cache.tools()
    position = {
        (name, tool.canonical(arguments)): i
        for name, tool in tools.items()
        for i, arguments in enumerate(compiled.arguments(name))
    }
    samples = list(cache.samples())
    links, _ = mine(samples)
    skipped, fed_calls = 0, []
    for sample, found in zip(samples, links, strict=True):
        feeds = collections.defaultdict(set)
        for link in found:
            feeds[link.source, link.target].add(Feed(link.argument, generic(link.path)))
        for (source, target), fed in feeds.items():
            calls = [sample.calls[source], sample.calls[target]]
            if any(tools[call.name].validate(call.arguments) for call in calls):
                skipped += 1  # a call that its own schema forbids
                continue
            group = Group(calls[0].name, calls[1].name, tuple(sorted(fed)))
            ends = [position[c.name, tools[c.name].canonical(c.arguments)] for c in calls]
            fed_calls.append((sample.id, group, *ends))
    assert skipped < 10
    assert len(fed_calls) > 3500
    compiled.prepare_groups([group for _, group, _, _ in fed_calls])
    for id_, group, s, t in fed_calls:
        assert compiled.relation(group).holds(np.array([s]), np.array([t])).all(), id_


def _check_traces(environment, compiled, sampler, count):
    for index in range(count):
        workflow, filling = sampler.filling(index)
        draft = of_filling(workflow, filling, compiled)
        assert len(set(zip(workflow.slots, filling, strict=True))) == len(filling)
        assert sum(len(call.bindings) for call in draft.calls) == len(workflow.edges)
        for call, response in zip(draft.calls, draft.responses, strict=True):
            observation = environment.execute(Call(call.name, call.arguments))
            assert observation.ok
            assert observation.content == response
            for binding in call.bindings:
                leaf = at_path(draft.responses[binding.source], binding.path)
                assert value_text(leaf) == value_text(call.arguments[binding.argument])


@pytest.fixture(scope="module")
def playable(booking_environment, workflows):
    """What the demo's small views show: fewer workflows, each to be played from them."""
    environment = booking_environment
    compiled = Compiled(environment.cache, environment.projection)
    compiled.prepare(workflows)
    found = []
    for workflow in workflows:
        with contextlib.suppress(NoFilling):
            found.append(Filler(workflow, compiled).workflow)
    return Sampler(found, compiled, seed=0)


def test_bindings_of_filled_traces_hold_and_their_calls_hit_the_cache(
    booking_environment, compiled, workflows
):
    sampler = Sampler(workflows, compiled, seed=0)
    _check_traces(booking_environment, compiled, sampler, 150)


@pytest.mark.slow
def test_bindings_of_100_000_filled_traces_hold(booking_environment, compiled, workflows):
    sampler = Sampler(workflows, compiled, seed=0)
    _check_traces(booking_environment, compiled, sampler, 100_000)


def test_playable_traces_show_their_values_and_explain_their_elements(
    booking_environment, playable
):
    compiled = playable.fillers[0].compiled
    assert len(playable.workflows) > 30
    for index in range(300):
        workflow, filling = playable.filling(index)
        draft = of_filling(workflow, filling, compiled)
        views = [json.loads(view) for view in draft.views]
        for call in draft.calls:
            for binding in call.bindings:
                shown = at_path(views[binding.source], binding.path)
                assert value_text(shown) == value_text(call.arguments[binding.argument])
                listed = any(isinstance(step, int) for step in binding.path)
                assert bool(binding.selector) == listed
        for _, _, group in groups_of(workflow):
            assert group.source in booking_environment.tools


def test_mined_sequences_and_edges_are_those_of_the_released_templates(cache, reference_dir):
    templates = json.loads((reference_dir / "workflow_templates.json").read_text())["workflows"]
    found = compare(cache, templates)
    assert found["templates"] == 107
    assert found["same_sequence_and_frequency"] == 105
    assert [d["recorded"] is not None for d in found["differing"]] == [True, True]
    assert found["dependencies"][SAME] > 400
    assert found["unexplained"] == 0
