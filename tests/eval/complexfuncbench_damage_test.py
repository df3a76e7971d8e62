"""Gold of all 1,000 samples replayed, whole and damaged: each reading falls as its rules say.

What is expected of a damaged replay is worked out here from gold turns and dependencies
alone. A gold call is *free* if a policy may leave it out: a look-up with a call that needs
it and is none itself. *Gates* of a call are the calls that it needs and that are not
look-ups, through look-ups too.
"""

import dataclasses
import random

import pytest

from tooltrain.env.environment import Environment
from tooltrain.eval.baselines import gold_calls
from tooltrain.eval.complexfuncbench_reference import reference_reading
from tooltrain.eval.complexfuncbench_samples import (
    FREE_TOOLS,
    PUBLISHED_TURNS,
    BenchmarkEnvironment,
    chosen,
    read_samples,
)
from tooltrain.eval.complexfuncbench_strict import strict_reading
from tooltrain.eval.taxonomy import Outcome
from tooltrain.types import Call, CallRecord, EndReason


@pytest.fixture(scope="module")
def environment(booking_environment) -> Environment:
    return BenchmarkEnvironment(booking_environment)


@pytest.fixture(scope="module")
def samples(environment):
    return read_samples(environment.cache)


def replay(sample, environment):
    """Gold as turns of (gold index, call)."""
    played = [[] for _ in range(max(sample.turns) + 1)]
    for s, (gold, level) in enumerate(zip(sample.trace.calls, sample.turns, strict=True)):
        played[level].append((s, Call(gold.name, gold.arguments)))
    return played


def readings(sample, played, environment):
    records = [
        CallRecord(call, turn, environment.execute(call, sample.offered).kind)
        for turn, calls in enumerate(played)
        for _, call in calls
    ]
    strict = strict_reading(sample, records, EndReason.FINISHED, environment)
    return strict, reference_reading(sample, records, EndReason.FINISHED)


def is_look_up(sample, s):
    return sample.trace.calls[s].name in FREE_TOOLS


def is_free(sample, s):
    calls = sample.trace.calls
    return is_look_up(sample, s) and any(
        s in calls[t].depends_on and (not is_look_up(sample, t) or is_free(sample, t))
        for t in range(s + 1, len(calls))
    )


def gates(sample, s):
    found = set()
    for j in sample.trace.calls[s].depends_on:
        found |= gates(sample, j) if is_look_up(sample, j) else {j}
    return found


def gated_by(sample, s):
    """Calls, not look-ups themselves, that have `s` among their gates."""
    return [
        t
        for t in range(len(sample.trace.calls))
        if not is_look_up(sample, t) and s in gates(sample, t)
    ]


def victim(sample, kind, among=None):
    among = range(len(sample.trace.calls)) if among is None else among
    return random.Random(f"{kind} {sample.id}").choice(list(among))


def equals_gold(sample, name, arguments, response, environment):
    """A request of the sample, or one that was answered as one of its requests was."""
    request = (name, environment.tools[name].canonical(arguments))
    alike = [s for s, (tool, _) in enumerate(sample.requests) if tool == name]
    return request in sample.requests or any(
        response in (sample.trace.responses[s], environment.cache.lookup(*sample.requests[s])[1])
        for s in alike
    )


def assert_strict(sample, strict, turns, right, counted, outcomes):
    got = (strict.completed_turns, strict.right_calls, strict.counted_calls, strict.success)
    assert got == (turns, right, counted, Outcome.SUCCESS in outcomes), sample.id
    assert strict.failure.outcome in outcomes, sample.id


def test_gold_scores_everything_in_both_readings(samples, environment):
    assert len(samples) == 1000
    for sample in samples:
        num_turns, num_calls = max(sample.turns) + 1, len(sample.requests)
        strict, reference = readings(sample, replay(sample, environment), environment)
        assert_strict(sample, strict, num_turns, num_calls, num_calls, {Outcome.SUCCESS})
        assert dataclasses.astuple(reference) == (num_turns, num_calls, True), sample.id


def test_a_wrong_value_that_nobody_recorded_ends_the_prefix_in_its_turn(samples, environment):
    for sample in samples:
        s = victim(sample, "wrong value")
        played = replay(sample, environment)
        gold = sample.trace.calls[s]
        wrong = Call(gold.name, {**gold.arguments, next(iter(gold.arguments)): "no such value"})
        level = sample.turns[s]
        played[level] = [(t, wrong if t == s else call) for t, call in played[level]]
        strict, _ = readings(sample, played, environment)
        num_calls = len(sample.requests)
        # Beside an open call of the same tool with other arguments, the fault is seen there.
        outcomes = {Outcome.NOT_RECORDED, Outcome.WRONG_VALUE}
        keys = {frozenset(c.arguments) for c in sample.trace.calls if c.name == gold.name}
        if len(keys) > 1:
            outcomes |= {Outcome.MISSING_ARGUMENT, Outcome.EXTRA_ARGUMENT}
        assert_strict(sample, strict, level, num_calls - 1, num_calls, outcomes)


def test_a_wrong_recorded_value_costs_strict_and_not_reference(samples, environment):
    recorded = {name: list(environment.cache.entries(name)) for name in environment.tools}
    tried = 0
    for sample in samples:
        s = victim(sample, "recorded value")
        gold = sample.trace.calls[s]
        rng = random.Random(sample.id)
        wrong = next(
            (
                Call(gold.name, arguments)
                for arguments, response in rng.sample(recorded[gold.name], len(recorded[gold.name]))
                if arguments.keys() == gold.arguments.keys()
                and not equals_gold(sample, gold.name, arguments, response, environment)
            ),
            None,
        )
        if wrong is None:
            continue
        tried += 1
        played = replay(sample, environment)
        level = sample.turns[s]
        played[level] = [(t, wrong if t == s else call) for t, call in played[level]]
        strict, reference = readings(sample, played, environment)
        num_turns, num_calls = max(sample.turns) + 1, len(sample.requests)
        outcomes = {Outcome.WRONG_VALUE, Outcome.MISSING_ARGUMENT, Outcome.EXTRA_ARGUMENT}
        assert_strict(sample, strict, level, num_calls - 1, num_calls, outcomes)
        assert dataclasses.astuple(reference) == (num_turns, num_calls, True), sample.id
    assert tried > 950


def test_a_missing_call_stops_what_waits_for_it_unless_it_is_free(samples, environment):
    seen = {"free": 0, "waited for": 0, "last": 0}
    for sample in samples:
        s = victim(sample, "missing")
        played = [[(t, c) for t, c in turn if t != s] for turn in replay(sample, environment)]
        played = [turn for turn in played if turn]
        strict, _ = readings(sample, played, environment)
        num_turns, num_calls = max(sample.turns) + 1, len(sample.requests)
        level = sample.turns[s]
        if is_free(sample, s):
            seen["free"] += 1
            kept = num_calls - 1
            assert_strict(sample, strict, num_turns, kept, kept, {Outcome.SUCCESS})
        elif gated_by(sample, s):
            seen["waited for"] += 1
            right = num_calls - 1
            assert_strict(sample, strict, level, right, num_calls, {Outcome.WRONG_ORDER})
        else:
            seen["last"] += 1
            right = num_calls - 1
            assert_strict(sample, strict, level, right, num_calls, {Outcome.STOPPED_EARLY})
    assert min(seen.values()) > 50, seen


def test_a_call_in_the_turn_of_what_it_waits_for_is_out_of_order(samples, environment):
    gated = 0
    for sample in samples:
        waiting = [
            s for s in range(len(sample.requests)) if not is_look_up(sample, s) and gates(sample, s)
        ]
        num_turns, num_calls = max(sample.turns) + 1, len(sample.requests)
        if waiting:
            gated += 1
            s = victim(sample, "order", waiting)
            early = max(sample.turns[j] for j in gates(sample, s))
            turns, outcomes = early, {Outcome.WRONG_ORDER}
        else:  # every call waits for look-ups alone, and those may come at any time
            s, early = num_calls - 1, 0
            turns, outcomes = num_turns, {Outcome.SUCCESS}
        played = replay(sample, environment)
        (call,) = [call for t, call in played[sample.turns[s]] if t == s]
        played[sample.turns[s]].remove((s, call))
        played[early].append((s, call))
        played = [turn for turn in played if turn]
        strict, _ = readings(sample, played, environment)
        assert_strict(sample, strict, turns, num_calls, num_calls, outcomes)
    assert gated > 650


def test_an_extra_call_ends_the_prefix_where_it_stands(samples, environment):
    for sample in samples:
        played = replay(sample, environment)
        num_turns, num_calls = len(played), len(sample.requests)
        turn = victim(sample, "extra turn", range(num_turns + 1))
        again = victim(
            sample, "extra", [s for s, level in enumerate(sample.turns) if level <= turn]
        )
        extra = Call(sample.trace.calls[again].name, sample.trace.calls[again].arguments)
        if turn == num_turns:
            played.append([])
        played[turn].append((again, extra))
        strict, reference = readings(sample, played, environment)
        counted = num_calls + 1
        assert_strict(sample, strict, turn, num_calls, counted, {Outcome.EXTRA_CALL})
        if turn == num_turns:  # the released rules, too, want a stop once all is done
            assert dataclasses.astuple(reference) == (num_turns, num_calls, False), sample.id


def test_the_samples_are_as_published_but_for_their_turns(samples):
    domains = {}
    for sample in samples:
        domains[sample.domain] = domains.get(sample.domain, 0) + 1
    assert domains == {
        "Attraction": 150,
        "Car-Rental": 150,
        "Cross": 400,
        "Flights": 150,
        "Hotels": 150,
    }
    assert sum(len(sample.requests) for sample in samples) == 5070
    assert all(len(set(sample.requests)) == len(sample.requests) for sample in samples)
    turns = sum(max(sample.turns) + 1 for sample in samples) / len(samples)
    assert 2.9 < turns < PUBLISHED_TURNS


def test_gold_turns_are_those_of_the_gold_player(samples, environment):
    for sample in samples:
        played = [[call for _, call in turn] for turn in replay(sample, environment)]
        assert played == gold_calls(sample.trace, environment)


def test_gold_calls_get_the_samples_own_responses(samples, environment):
    trimmed = 0
    for sample in samples:
        for gold, response in zip(sample.trace.calls, sample.trace.responses, strict=True):
            call = Call(gold.name, gold.arguments)
            assert environment.execute(call, sample.offered).content == response
            trimmed += environment.execute(call).content != response
    assert trimmed > 0


def test_every_tool_of_gold_is_on_offer_and_the_order_says_nothing(environment, samples):
    for sample in samples:
        assert {g.name for g in sample.trace.calls} <= set(sample.trace.tools)
        assert len(set(sample.trace.tools)) == len(sample.trace.tools)
    first = [sample.trace.tools[0] == sample.trace.calls[0].name for sample in samples]
    assert sum(first) < 200
    fewer = read_samples(environment.cache, distractors=2)
    assert all(
        len(sample.trace.tools) == len({g.name for g in sample.trace.calls}) + 2 for sample in fewer
    )


def test_a_smaller_choice_of_samples_is_part_of_a_larger_one(samples):
    small, large = chosen(samples, 50), chosen(samples, 200)
    assert len(small) == 50
    assert {sample.id for sample in small} < {sample.id for sample in large}
    assert [s.position for s in large] == sorted(s.position for s in large)
    assert chosen(samples, 0) == samples
