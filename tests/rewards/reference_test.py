"""The released reward: equal to the release on all its worked rollouts, in plain Python and
jitted, and the faults that were measured in it."""

import functools

import jax
import numpy as np
import pytest

from tests.rewards.cases import read_lines
from tooltrain.calls.encoder import encode_calls, encode_gold
from tooltrain.calls.released import read_released, released_records, succeeded
from tooltrain.rewards.reference import reference
from tooltrain.rewards.released import bfcl_equal, released_score
from tooltrain.rewards.reward import matched, score_batch
from tooltrain.types import Call, CallRecord, GoldCall, ObservationKind


@pytest.fixture(scope="module")
def rollouts(reference_dir):
    return read_lines(reference_dir / "reward_vectors.jsonl")


@pytest.fixture(scope="module")
def traces(reference_dir):
    return read_lines(reference_dir / "train_traces.jsonl")


def released_inputs(trace):
    """ground_truth, execution_traces and step_dependency, made as the release makes them."""
    ground_truth, execution_traces, step_dependency = [], [], []
    for step in trace["steps"]:
        name = step["ground_truth"]["function"]
        ground_truth.append(
            [{"name": tool, "success": tool == name} for tool in step["candidate_tools"]]
        )
        call = {"function_name": name, "arguments": step["ground_truth"]["arguments"]}
        execution_traces.append({name: {"success": True, "traces": [call]}})
        step_dependency.append(step["depends_on"] or None)
    return ground_truth, execution_traces, step_dependency


def gold_of(trace):
    return tuple(
        GoldCall(
            step["ground_truth"]["function"],
            step["ground_truth"]["arguments"],
            tuple(step["depends_on"]),
        )
        for step in trace["steps"]
    )


def test_the_plain_version_gives_every_released_number(rollouts, traces):
    assert len(rollouts) == 606
    for case in rollouts:
        got = released_score(
            read_released(case["rollout"]), *released_inputs(traces[case["trace"]])
        )
        assert got == pytest.approx(case["reference"], abs=1e-6), case["kind"]


def test_the_jitted_version_gives_every_released_number(rollouts, traces):
    texts = [case["rollout"] for case in rollouts]
    calls = encode_calls([released_records(text) for text in texts])
    gold = encode_gold([gold_of(traces[case["trace"]]) for case in rollouts])
    flags = np.zeros((2, *calls.mask.shape), bool)
    for index, text in enumerate(texts):
        for position, call in enumerate(read_released(text)):
            flags[:, index, position] = call.response is not None, succeeded(call.response)

    def scored(calls, gold, responded, succeeded):
        return reference(calls, gold, responded=responded, succeeded=succeeded)

    score, terms = jax.jit(jax.vmap(scored))(calls, gold, *flags)
    np.testing.assert_allclose(score, [case["reference"]["score"] for case in rollouts], atol=1e-6)
    assert terms.keys() == rollouts[0]["reference"].keys()
    for key, got in terms.items():
        want = [case["reference"][key] for case in rollouts]
        np.testing.assert_allclose(got, want, atol=1e-6, err_msg=key)


def test_without_response_flags_only_the_two_response_rates_may_differ(rollouts, traces):
    calls = encode_calls([released_records(case["rollout"]) for case in rollouts])
    gold = encode_gold([gold_of(traces[case["trace"]]) for case in rollouts])
    _, terms = score_batch(reference, calls, gold)
    for key in terms.keys() - {"tool_executable_rate", "tool_calling_success_rate"}:
        want = [case["reference"][key] for case in rollouts]
        np.testing.assert_allclose(terms[key], want, atol=1e-6, err_msg=key)


def test_skipping_required_repeats_pays_under_the_released_reward_and_not_under_matched():
    gold = (GoldCall("find", {"q": "Rome"}), GoldCall("find", {"q": "Oslo"}))
    perfect = [CallRecord(Call("find", {"q": q}), 0, ObservationKind.OK) for q in ("Rome", "Oslo")]
    calls = encode_calls([perfect, perfect[:1]])
    both = encode_gold([gold, gold])
    released, _ = score_batch(reference, calls, both)
    ours, _ = score_batch(matched, calls, both)
    assert released[1] > released[0]
    assert released[0] < 1.0
    assert ours.tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("value", "gold", "equal"),
    [
        ("New-York", "new york", True),
        ("it's", 'it"s', True),
        (7, 7.0, True),  # BFCL widens an int to a float
        (7.0, 7, False),  # and not the other way
        (True, 1, False),
        (["a", "B"], ["A", "b"], True),
        (["a"], ["a", "b"], False),
        ([1, "x"], [1, 2], False),
        ([], [], True),
        ({"k": "A"}, {"k": "abc"}, True),  # "one of its letters": a slip of the release
        ({}, {"k": "abc"}, True),
        ({"k": "d"}, {"k": "abc"}, False),
    ],
)
def test_values_compare_as_bfcl_s_checker_does(value, gold, equal):
    assert bfcl_equal(value, gold) is equal


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>7</tool_call>",
        '<tool_call>"name"</tool_call>',
        '<tool_call>{"name": ["find"]}</tool_call>',
        "<tool_call>" * 50,
        "<tool_call>" + "[" * 100_000 + "</tool_call>",
        '<tool_call>{"name": "find", "arguments": {"q": 1e999}}</tool_call>',
        "<tool_call>" + "9" * 5000 + "</tool_call>",
    ],
)
def test_no_text_raises(text):
    gold = [{"find": {"success": True, "traces": [_trace("find", {"q": 1})]}}]
    scores = released_score(read_released(text), [[{"name": "find", "success": True}]], gold, None)
    assert 0.0 <= scores["score"] <= 1.0
    released_records(text)


def _trace(name, arguments):
    return {"function_name": name, "arguments": arguments}


def test_disabled_components_are_zero():
    text = '<tool_call>{"name": "find", "arguments": {}}</tool_call>'
    gold = [{"find": {"success": True, "traces": [_trace("find", {})]}}]
    score = functools.partial(
        released_score, read_released(text), [[{"name": "find", "success": True}]], gold, [None]
    )
    only = score({"R_outcome_orchestration": 1.0})
    assert (only["R_atomic_validity"], only["R_outcome_orchestration"], only["score"]) == (0, 1, 1)
    only = score({"R_atomic_validity": 1.0})
    assert (only["R_outcome_orchestration"], only["score"]) == (0, 0.5)
