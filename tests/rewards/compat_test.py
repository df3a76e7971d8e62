"""The rewards as verl, TRL and Tunix call them."""

import inspect
import json

import numpy as np
import pytest

from tests.rewards.cases import read_lines
from tests.rewards.reference_test import released_inputs
from tooltrain.calls.transcript import records_of_messages, records_of_text
from tooltrain.rewards.compat import (
    compute_matched_score,
    compute_score,
    score_calls,
    trl_reward,
    tunix_reward,
)
from tooltrain.types import Call

GOLD = [
    {"name": "find", "arguments": {"q": "Rome"}, "depends_on": [], "bindings": {}},
    {"name": "book", "arguments": {"id": 7}, "depends_on": [0], "bindings": {"id": 0}},
]
RIGHT = (
    '<tool_call>{"name": "find", "arguments": {"q": "Rome"}}</tool_call>\n'
    '<tool_response>{"id": 7}</tool_response>\n'
    '<tool_call>{"name": "book", "arguments": {"id": 7}}</tool_call>\n'
    '<tool_response>{"status": true}</tool_response>\nDone.'
)
TOGETHER = (
    '<tool_call>{"name": "find", "arguments": {"q": "Rome"}}</tool_call>'
    '<tool_call>{"name": "book", "arguments": {"id": 7}}</tool_call>'
    '<tool_response>{"id": 7}</tool_response> <tool_response>{"id": 8}</tool_response>'
)


def test_dictionaries_score_as_the_worked_vectors_say(reference_dir):
    cases = read_lines(reference_dir / "matched_vectors.jsonl")
    rows = score_calls([case["calls"] for case in cases], [case["gold"] for case in cases])
    differ = 0
    for row, case in zip(rows, cases, strict=True):
        assert row.keys() == case["matched"].keys()
        for key in ("atomic", "orchestration", "score"):
            assert row[key] == pytest.approx(case["matched"][key], abs=1e-6)
        differ += row["assignment"] != case["matched"]["assignment"]
    assert differ <= 1  # one case ties in both criteria


def test_calls_given_as_dictionaries_may_be_malformed_or_stringly():
    calls = [
        {"name": "find", "arguments": '{"q": "rome"}', "turn": 0, "ok": True},
        {"name": "book", "arguments": "{no", "turn": 1, "ok": True},
    ]
    (row,) = score_calls([calls], [GOLD])
    assert row == {"atomic": 0.5, "orchestration": 0.5, "score": 0.5, "assignment": [0, -1]}
    assert score_calls([], []) == []
    with pytest.raises(ValueError, match="1 trajectories and 2 gold"):
        score_calls([calls], [GOLD, GOLD])


def test_verl_gets_the_released_numbers_under_the_released_keys(reference_dir):
    traces = read_lines(reference_dir / "train_traces.jsonl")
    for case in read_lines(reference_dir / "reward_vectors.jsonl")[::7]:
        truth, execution, dependency = released_inputs(traces[case["trace"]])
        # As a reward manager calls it, after a round through numpy object arrays.
        info = {"execution_traces": np.array(execution, object), "step_dependency": dependency}
        got = compute_score(
            data_source="x",
            solution_str=case["rollout"],
            ground_truth=truth,
            extra_info=info,
            reward_weights=None,
        )
        assert got == pytest.approx(case["reference"], abs=1e-6)
        assert list(inspect.signature(compute_score).parameters)[:5] == [
            "solution_str",
            "ground_truth",
            "method",
            "extra_info",
            "reward_weights",
        ]


def test_ground_truth_without_traces_is_refused_as_in_the_release():
    with pytest.raises(ValueError, match="execution_traces"):
        compute_score("", [[{"name": "find", "success": True}]])
    only = {"R_outcome_orchestration": 1.0}
    scores = compute_score("", [[{"name": "find", "success": True}]], reward_weights=only)
    assert scores["score"] == 0.0


def test_verl_gets_matched_behind_the_same_signature(reference_dir):
    trace = read_lines(reference_dir / "train_traces.jsonl")[0]
    truth, execution, dependency = released_inputs(trace)
    info = {"execution_traces": execution, "step_dependency": dependency}
    case = read_lines(reference_dir / "reward_vectors.jsonl")[0]
    assert compute_matched_score(case["rollout"], truth, extra_info=info)["score"] == 1.0
    assert compute_matched_score(RIGHT, json.dumps(GOLD))["score"] == 1.0
    assert compute_matched_score(RIGHT, GOLD)["score"] == 1.0
    half = compute_matched_score(TOGETHER, GOLD, reward_weights={"R_outcome_orchestration": 1.0})
    assert half["score"] == half["orchestration"] == 0.5


@pytest.mark.parametrize("key", ["execution_traces", "step_dependency", "bindings"])
def test_a_list_of_another_length_than_the_ground_truth_is_refused_with_both(key):
    truth = [[{"name": name, "success": True}] for name in ("find", "book")]
    traced = [{step["name"]: {"traces": [step]}} for step in GOLD]
    info = {
        "execution_traces": traced,
        "step_dependency": [None, [0]],
        "bindings": [{}, {"id": 0}],
    }
    assert compute_matched_score(RIGHT, truth, extra_info=info)["score"] == 1.0
    for entries in (info[key][:1], [*info[key], info[key][0]]):
        with pytest.raises(ValueError, match=rf"of 2 steps and {len(entries)} entries of .*{key}"):
            compute_matched_score(RIGHT, truth, extra_info=info | {key: entries})


def test_trl_calls_it_with_keywords_and_strings_or_messages():
    messages = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": GOLD[0]}],
        },
        {"role": "tool", "name": "find", "content": '{"id": 7}'},
        {"role": "assistant", "content": RIGHT.split("</tool_response>\n")[1].split("<tool_r")[0]},
        {"role": "tool", "name": "book", "content": {"ok": True}},
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
    ]
    for completion, score in [(RIGHT, 1.0), (TOGETHER, 0.75), ("I cannot", 0.0), (messages, 1.0)]:
        rewards = trl_reward(
            prompts=["p"] * 2,
            completions=[completion] * 2,
            completion_ids=[[1]] * 2,
            gold=[GOLD, json.dumps(GOLD)],
            trainer_state=None,
        )
        assert rewards == [score, score]
        assert all(type(reward) is float for reward in rewards)


def test_tunix_calls_it_with_prompts_completions_and_columns():
    gold = np.array([json.dumps(GOLD)] * 2)
    rewards = tunix_reward(["p", "p"], [RIGHT, TOGETHER], gold=gold, question=["?", "?"])
    assert rewards == [1.0, 0.75]
    assert tunix_reward(prompts=["p"], completions=[RIGHT], gold=[json.dumps(GOLD).encode()]) == [
        1.0
    ]
    with pytest.raises(ValueError, match="one prompt"):
        tunix_reward(["p"], [RIGHT, RIGHT], gold=gold)


def test_a_turn_ends_at_its_responses():
    records = records_of_text(RIGHT)
    assert [(record.turn, record.executed) for record in records] == [(0, True), (1, True)]
    assert [record.turn for record in records_of_text(TOGETHER)] == [0, 0]
    failed = RIGHT.replace('{"id": 7}</tool_response>', '{"error": "no"}</tool_response>')
    assert [record.executed for record in records_of_text(failed)] == [False, True]
    assert not records_of_text(RIGHT.split("<tool_response>")[0])[0].executed


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("", 0),
        ("<tool_response>", 0),
        ("<tool_response>" * 2000, 0),
        (TOGETHER[:-30], 2),
        ("</tool_response>", 0),
    ],
)
def test_broken_texts_end(text, calls):
    written = [Call("find", {"q": "Rome"}), Call("book", {"id": 7})]
    assert [record.call for record in records_of_text(text)] == written[:calls]


def test_tool_messages_answer_in_order():
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in ("a", "b", "c")]
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "content": '{"ok": 1}'},
        {"role": "tool", "content": "not JSON"},
    ]
    assert [record.executed for record in records_of_messages(messages)] == [True, False, False]
