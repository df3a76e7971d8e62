import dataclasses
import json

import pytest

from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import open_environment
from tooltrain.env.schema import Tool, safe_name
from tooltrain.eval.baselines import PLAYERS, first_lookup, gold_calls, play, random_calls
from tooltrain.eval.evaluate import NAMES, score, summarize
from tooltrain.types import Call, EndReason, GoldCall, ObservationKind, Trace


def test_gold_issues_each_dependency_level_in_one_turn(environment, traces):
    assert gold_calls(traces[0], environment) == [
        [Call("find", {"query": "Rome"}), Call("find", {"query": "Bari"})],
        [Call("rent", {"pick_up": 0, "drop_off": 1})],
    ]


def test_first_lookup_asks_the_quoted_words_of_the_first_lookup_tool(environment, traces):
    assert first_lookup(traces[0], environment) == [[Call("find", {"query": "Rome"})]]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Please rent a car at Charles de Gaulle Airport. Thanks", "Gaulle Airport"),
        ("a car in rome", "a car in rome"),
    ],
)
def test_without_quotes_it_asks_the_longest_capitalised_run(environment, traces, query, words):
    trace = dataclasses.replace(traces[0], query=query)
    assert first_lookup(trace, environment) == [[Call("find", {"query": words})]]


def test_without_a_lookup_tool_it_calls_nothing(environment, traces):
    trace = dataclasses.replace(traces[0], tools=("rent", "review"))
    assert first_lookup(trace, environment) == []


def test_random_calls_are_the_same_each_time_and_differ_between_traces(environment, traces):
    played = [random_calls(trace, environment) for trace in traces]
    assert played == [random_calls(trace, environment) for trace in traces]
    assert len({str(calls) for calls in played}) > 1


def test_records_say_what_the_environment_answered(environment, traces):
    def wrong(trace, environment):
        return [[Call("find", {"query": "Atlantis"}), Call("fly", {})], [Call("rent", {})]]

    rollout = play(wrong, traces[:1], environment)[0]
    assert [(record.turn, record.kind) for record in rollout.records] == [
        (0, ObservationKind.NOT_RECORDED),
        (0, ObservationKind.UNKNOWN_TOOL),
        (1, ObservationKind.INVALID_ARGUMENTS),
    ]
    assert rollout.num_turns == 3
    assert rollout.end is EndReason.FINISHED


@pytest.fixture(scope="module")
def released(reference_dir, tmp_path_factory):
    """The 101 released training traces, and an environment of their real responses."""
    lines = (reference_dir / "train_traces.jsonl").read_text().splitlines()
    path = tmp_path_factory.mktemp("released") / "booking.sqlite"
    traces = []
    with CacheWriter.create(path) as writer:
        for line in (reference_dir / "booking_api.jsonl").read_text().splitlines():
            spec = json.loads(line)
            parameters = {**spec["parameters"], "type": "object"}
            writer.add_tool(
                Tool(safe_name(spec["name"]), spec["description"], parameters, spec["name"])
            )
        recorded = set()
        for i, trace in enumerate(map(json.loads, lines)):
            steps = trace["steps"]
            calls = tuple(
                GoldCall(
                    safe_name(step["ground_truth"]["function"]),
                    step["ground_truth"]["arguments"],
                    tuple(step["depends_on"]),
                )
                for step in steps
            )
            responses = tuple(step["execution_result"]["execution_result"] for step in steps)
            for call, response in zip(calls, responses, strict=True):
                request = call.name, writer.tools[call.name].canonical(call.arguments)
                if request not in recorded:
                    recorded.add(request)
                    writer.add_entry(call.name, call.arguments, response)
            offered = tuple(map(safe_name, steps[0]["candidate_tools"]))
            name = trace["workflow_id"]
            traces.append(Trace(f"{i}", "booking", name, trace["query"], offered, calls, responses))
    return open_environment(path, max_tokens=256, max_items=3, max_value_chars=256), traces


def test_gold_scores_one_in_every_metric_on_released_traces(released):
    environment, traces = released
    metrics = summarize(score(traces, play(PLAYERS["gold"], traces, environment)))["metrics"]
    assert {name: metrics[name]["mean"] for name in NAMES} == dict.fromkeys(NAMES, 1.0)


def test_random_scores_about_nothing_on_released_traces(released):
    environment, traces = released
    metrics = summarize(score(traces, play(PLAYERS["random"], traces, environment)))["metrics"]
    assert metrics["strict_turn_accuracy"]["mean"] < 0.02
    assert metrics["call_accuracy"]["mean"] < 0.02
    assert metrics["success"]["mean"] == 0.0
