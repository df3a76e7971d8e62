import json

import pytest

from experiments import behaviour
from tooltrain.rewards.reward import binary, matched
from tooltrain.types import Binding, GoldCall, MalformedCall, Trace

ROME, OSLO = {"city": "Rome"}, {"city": "Oslo"}
TWO_CITIES = [
    {"name": "find", "arguments": ROME, "turn": 0},
    {"name": "find", "arguments": OSLO, "turn": 0},
    {"name": "flights", "arguments": {"from": 1, "to": 2}, "turn": 1},
]
CHAIN = Trace(
    "test-0",
    "weather",
    "find>weather",
    "Weather in Rome?",
    ("find", "weather"),
    (
        GoldCall("find", ROME),
        GoldCall("weather", {"id": 3}, (0,), (Binding("id", 0, ("id",)),)),
    ),
    ({"id": 3}, {"sky": "clear"}),
)


def call(name, arguments, kind="ok"):
    return {"name": name, "arguments": arguments, "kind": kind}


def episode(gold, *turns, end="finished"):
    return {"trace": "test-0", "gold": gold, "turns": turns, "end": end}


def test_rates_of_a_worked_example():
    episodes = [
        # The first look-up twice over is no second look-up: the repeat is skipped.
        episode(TWO_CITIES, [call("find", ROME), call("find", ROME)], [call("flights", {})], []),
        # The repeat is made, with a value that was wrong; the malformed call is a call.
        episode(
            TWO_CITIES,
            [call("find", ROME), call("find", {"city": "Oslow"}, "not_recorded")],
            [{"malformed": "bad_json: no end", "kind": "malformed"}],
            end="max_turns",
        ),
        # Nothing repeats; it said that it was done one call early.
        episode(TWO_CITIES[1:], [call("find", OSLO)], []),
        # As short, but it did not end by its own word.
        episode(TWO_CITIES[1:], [call("find", OSLO)], end="context_full"),
    ]
    # Repeats of gold: 1 + 1 + 0 + 0, of which the first episode's is skipped.
    # Calls 3 + 3 + 1 + 1 = 8 where gold has 3 + 3 + 2 + 2 = 10; one of four stopped early.
    assert behaviour.rates(episodes) == {
        "episodes": 4,
        "repeated_calls": 2,
        "repeats_skipped": 0.5,
        "calls_over_gold": 0.8,
        "early_stops": 0.25,
    }


def test_a_tool_that_was_never_called_skips_its_repeats_and_a_surplus_pays_for_no_other_tool():
    gold = [{"name": tool, "arguments": {"n": n}} for tool in ("a", "b") for n in range(3)]
    played = [call("a", {"n": n}) for n in range(5)]
    # a: all of its 2 repeats; b: none of its 2.
    assert behaviour.rates([episode(gold, played)])["repeats_skipped"] == 0.5
    assert behaviour.rates([episode(TWO_CITIES[1:], [])])["repeats_skipped"] is None


def test_written_episodes_are_paid_what_their_calls_earned():
    find, weather = call("find", ROME), call("weather", {"id": 3})
    right = episode([], [find], [weather], [])
    half = episode([], [find], [])  # one of two calls, one of two steps: 0.5 of each component
    wrong = episode([], [{"malformed": "bad_json: no end", "kind": "malformed"}])
    traces = [CHAIN] * 3
    assert behaviour.mean_reward(matched, [right], traces[:1]) == 1.0
    assert behaviour.mean_reward(matched, [right, half, wrong], traces) == pytest.approx(0.5)
    assert behaviour.mean_reward(binary, [right, half, wrong], traces) == pytest.approx(1 / 3)
    (record,) = behaviour.records(wrong)
    assert isinstance(record.call, MalformedCall)
    assert not record.executed


def test_tokens_are_counted_without_padding_and_with_whole_episodes(tmp_path):
    given = {
        "sft": {"batch_size": 2, "seq_len": 100},
        "grpo": {"prompts_per_step": 3, "generations": 4},
    }
    lines = {
        "sft": [{"step": 10, "padding": 0.3}, {"step": 20, "padding": 0.1}, {"step": 20}],
        "grpo": [{"step": 0, "eval/success": 0.1}, {"step": 1, "episode_tokens": 50.0}],
    }
    for stage in given:
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "config.json").write_text(json.dumps({"config": given}))
        text = "".join(f"{json.dumps(line)}\n" for line in lines[stage])
        (tmp_path / stage / "metrics.jsonl").write_text(text)
    # 20 steps of 200 tokens, 0.8 of them filled; 1 step of 12 episodes of 50 tokens.
    assert behaviour.trained_tokens(tmp_path) == {"sft": 3_200, "grpo": 600}
    assert behaviour.trained_tokens(tmp_path / "nothing") == {}
