"""The evaluation as a whole: every kind of player, stopped and continued, over real samples."""

import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from tooltrain.env.environment import open_environment
from tooltrain.errors import UserError
from tooltrain.eval.baselines import PLAYERS, gold_calls
from tooltrain.eval.complexfuncbench import evaluate
from tooltrain.eval.complexfuncbench_endpoint import EndpointPlayer
from tooltrain.eval.complexfuncbench_players import Script, Transcripts
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, chosen, read_samples
from tooltrain.eval.complexfuncbench_scores import METRICS, summarize, table_lines
from tooltrain.eval.endpoint import Endpoint

REPO_ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTHING_SET = {"distractors": None}


@pytest.fixture(scope="module")
def environment(booking_cache):
    return BenchmarkEnvironment(open_environment(str(booking_cache)), whole_responses=True)


@pytest.fixture(scope="module")
def samples(environment):
    return chosen(read_samples(environment.cache), 24)


def run(player, samples, environment, directory):
    return evaluate(player, samples, environment, directory, settings=NOTHING_SET, progress=False)


def assert_all_right(summary):
    assert {summary["overall"][name]["mean"] for name in METRICS} == {1.0}


# --- players ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLAYERS)
def test_baselines_play(name, samples, environment, tmp_path):
    summary = run(Script(name), samples, environment, tmp_path)
    assert summary["samples"] == 24
    assert sum(summary["outcomes"].values()) == sum(summary["ends"].values()) == 24
    if name == "gold":
        assert_all_right(summary)
    else:
        assert summary["overall"]["strict_success"]["mean"] == 0


def as_messages(sample, environment, answers=None):
    """Gold as a chat transcript."""
    messages = [{"role": "user", "content": sample.trace.query}]
    for turn, calls in enumerate(gold_calls(sample.trace, environment)):
        tool_calls = [
            {
                "id": f"call-{turn}-{i}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for i, call in enumerate(calls)
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": tool_calls})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": answers or "{}"}
            for call in tool_calls
        ]
    return [*messages, {"role": "assistant", "content": "Done."}]


def test_transcripts_are_executed_anew_and_not_believed(samples, environment, tmp_path):
    path = tmp_path / "gold.jsonl"
    lines = [
        {"id": s.id, "messages": as_messages(s, environment, '{"error": "down"}')} for s in samples
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert_all_right(run(Transcripts(path), samples, environment, tmp_path / "gold"))

    for line in lines:  # a last call of an unknown tool, whose answer claims success
        function = {"name": "Search_Spaceships", "arguments": "{}"}
        call = {"id": "x", "type": "function", "function": function}
        line["messages"][-1] = {"role": "assistant", "content": None, "tool_calls": [call]}
        line["messages"].append({"role": "tool", "tool_call_id": "x", "content": '{"id": 1}'})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = run(Transcripts(path), samples, environment, tmp_path / "extra")
    assert summary["ends"] == {"max_turns": 24}
    assert summary["overall"]["strict_turn_accuracy"]["mean"] == 1.0
    assert summary["overall"]["strict_success"]["mean"] == 0.0
    assert summary["outcomes"]["extra call"] == 24


def test_transcripts_are_known_by_what_they_say(tmp_path):
    one, same, other = (tmp_path / f"{name}.jsonl" for name in ("one", "same", "other"))
    one.write_text('{"id": "Cross-1", "messages": []}\n')
    same.write_text(one.read_text())
    other.write_text('{"id": "Cross-2", "messages": []}\n')
    assert Transcripts(one).identity == Transcripts(same).identity
    assert Transcripts(one).identity != Transcripts(other).identity


def test_bad_transcripts_are_named(samples, environment, tmp_path):
    path = tmp_path / "bad.jsonl"
    with pytest.raises(UserError, match="no transcripts"):
        Transcripts(path)
    path.write_text('{"id": "Cross-1", "messages": [{"content": "no role"}]}\n')
    with pytest.raises(UserError, match="line 1 is not"):
        Transcripts(path)
    path.write_text('{"id": "Cross-1", "messages": []}\n' * 2)
    with pytest.raises(UserError, match="line 2: sample 'Cross-1' was there before"):
        Transcripts(path)
    path.write_text('{"id": "Cross-1", "messages": []}\n')
    with pytest.raises(UserError, match="lacks 24 of 24 samples"):
        run(Transcripts(path), samples, environment, tmp_path / "out")


# --- an endpoint, over HTTP -------------------------------------------------------------


class GoldServer(http.server.ThreadingHTTPServer):
    """Serves what gold does in OpenAI's shape; `refuse` maps a sample's id to a status.

    opening: the barrier at which the first request of each conversation waits.
    """

    daemon_threads = True

    def __init__(self, samples, environment):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gold = {s.trace.query: (s.id, as_messages(s, environment)) for s in samples}
        self.refuse: dict[str, int] = {}
        self.bodies: list[dict] = []
        self.keys: set[str] = set()
        self.opening = threading.Barrier(1)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.keys.add(self.headers["Authorization"])
        if len(body["messages"]) == 1:
            self.server.opening.wait(60)
        id_, messages = self.server.gold[body["messages"][0]["content"]]
        status = self.server.refuse.get(id_, 200)
        if status == 200:
            said = sum(message["role"] == "assistant" for message in body["messages"])
            message = [m for m in messages if m["role"] == "assistant"][said]
            reason = "tool_calls" if message.get("tool_calls") else "stop"
            choice = {"index": 0, "message": message, "finish_reason": reason}
            answer = {"id": "x", "object": "chat.completion", "created": 0, "choices": [choice]}
            answer["model"] = body["model"]
        else:
            code = "context_length_exceeded" if status == 400 else "refused"
            answer = {"error": {"message": f"status {status}", "code": code}}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(samples, environment):
    with GoldServer(samples, environment) as server:
        yield server
        server.shutdown()


def test_an_endpoint_plays_greedily_and_in_parallel(server, samples, environment, tmp_path):
    pytest.importorskip("openai")
    server.opening = threading.Barrier(6)  # 24 samples: four rounds
    player = EndpointPlayer(Endpoint(server.url, "gold-model", parallel=6, max_retries=0))
    assert_all_right(run(player, samples, environment, tmp_path))
    assert {body["temperature"] for body in server.bodies} == {0}
    assert len(server.bodies) == sum(max(s.turns) + 2 for s in samples)
    # What the endpoint saw of a response is the sample's own, whole.
    by_query = {s.trace.query: s for s in samples}
    for body in server.bodies:
        sample = by_query[body["messages"][0]["content"]]
        seen = [json.loads(m["content"]) for m in body["messages"] if m["role"] == "tool"]
        assert all(response in sample.trace.responses for response in seen)


def test_an_endpoint_that_fails_leaves_samples_for_the_next_run(
    server, samples, environment, tmp_path
):
    pytest.importorskip("openai")
    server.refuse = {sample.id: 500 for sample in samples[::4]}
    player = EndpointPlayer(Endpoint(server.url, "gold-model", max_retries=0))
    with pytest.raises(UserError, match=r"failed in 6 of 24 samples.*run again"):
        run(player, samples, environment, tmp_path)
    assert len((tmp_path / "samples.jsonl").read_bytes().splitlines()) == 18
    server.refuse, server.bodies = {}, []
    assert_all_right(run(player, samples, environment, tmp_path))
    assert len({b["messages"][0]["content"] for b in server.bodies}) == 6


def test_a_context_that_is_too_long_is_the_policys_failure(server, samples, environment, tmp_path):
    pytest.importorskip("openai")
    server.refuse = {samples[0].id: 400}
    player = EndpointPlayer(Endpoint(server.url, "gold-model", max_retries=0))
    summary = run(player, samples, environment, tmp_path)
    assert summary["ends"] == {"context_full": 1, "finished": 23}
    assert summary["outcomes"]["cut off"] == 1


def test_keys_are_sent_and_stored_nowhere(server, samples, environment, tmp_path, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    url = server.url.replace("http://", "http://user:hunter2@") + "?token=hunter3"
    Endpoint(url, "gold-model")  # what a user may write
    player = EndpointPlayer(Endpoint(server.url, "gold-model"))
    run(player, samples[:2], environment, tmp_path)
    assert server.keys == {"Bearer sk-secret"}
    assert "hunter" not in json.dumps(Endpoint(url, "gold-model").identity)
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_refused_key_stops_at_once(server, samples, environment, tmp_path):
    pytest.importorskip("openai")
    server.refuse = {sample.id: 401 for sample in samples}
    player = EndpointPlayer(Endpoint(server.url, "m", parallel=1))
    stopped = r"failed in 1 of 24 samples, last with AuthenticationError"
    with pytest.raises(UserError, match=stopped):
        run(player, samples, environment, tmp_path)
    assert len(server.bodies) < 10


# --- stopped and continued --------------------------------------------------------------

# Plays a sample for each byte on its input, and the rest when the input ends.
_EVALUATE = """
import os, sys
from tooltrain.env.environment import open_environment
from tooltrain.eval.complexfuncbench import evaluate
from tooltrain.eval.complexfuncbench_players import Script
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, read_samples

class Bidden(Script):
    def play(self, samples, environment):
        for played in super().play(samples, environment):
            os.read(0, 1)
            yield played

cache, directory = sys.argv[1:]
environment = BenchmarkEnvironment(open_environment(cache))
evaluate(Bidden("gold"), read_samples(environment.cache), environment, directory,
         settings={"distractors": None}, progress=False)
"""


def _finished(path: pathlib.Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _start(cache, directory, **pipes):
    command = [sys.executable, "-c", _EVALUATE, str(cache), str(directory)]
    environ = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, cwd=REPO_ROOT, env=environ, **pipes)


@pytest.mark.slow
def test_killed_it_goes_on_without_redoing_or_losing_a_sample(booking_cache, tmp_path):
    path = tmp_path / "samples.jsonl"
    with _start(booking_cache, tmp_path, stdin=subprocess.PIPE) as process:
        process.stdin.write(bytes(700))
        process.stdin.flush()
        while _finished(path) < 100:
            assert process.poll() is None
        process.kill()  # SIGKILL, while it writes: nothing in the process can tidy up
    before = path.read_bytes()
    assert 100 <= before.count(b"\n") <= 700
    assert not (tmp_path / "summary.json").exists()

    assert _start(booking_cache, tmp_path, stdin=subprocess.DEVNULL).wait() == 0
    whole = path.read_bytes()
    assert whole.startswith(before[: before.rindex(b"\n") + 1])
    ids = [json.loads(line)["id"] for line in whole.splitlines()]
    assert len(ids) == len(set(ids)) == 1000
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["samples"] == 1000
    assert_all_right(summary)


def test_a_larger_choice_plays_only_what_is_new(samples, environment, tmp_path):
    class Counted(Script):
        played = 0

        def play(self, samples, environment):
            Counted.played += len(samples)
            return super().play(samples, environment)

    run(Counted("gold"), chosen(samples, 10), environment, tmp_path)
    summary = run(Counted("gold"), samples, environment, tmp_path)
    assert (Counted.played, summary["samples"]) == (24, 24)
    assert run(Counted("gold"), chosen(samples, 10), environment, tmp_path)["samples"] == 10
    assert Counted.played == 24


# --- tables -----------------------------------------------------------------------------


def row(position, domain, **counts):
    names = {name for pair in METRICS.values() for name in pair}
    return {
        "position": position,
        "domain": domain,
        "turns": 3,
        "gold_calls": 5,
        "outcome": "success",
        "end": "finished",
        "counts": {**dict.fromkeys(names, 0), "samples": 1, "turns": 3, **counts},
    }


def test_means_are_over_samples_and_pooled_numbers_over_turns_and_calls():
    common = {"strict_counted_calls": 4, "reference_counted_calls": 4}
    rows = [
        row(0, "Hotels", **common, turns=1, strict_turns=1, strict_calls=1),
        row(1, "Hotels", **common, turns=3, strict_turns=0, strict_calls=4),
        row(2, "Cross", **common, turns=4, strict_turns=2, strict_calls=0, strict_success=1),
    ]
    summary = summarize(rows)
    overall = summary["overall"]
    assert overall["strict_turn_accuracy"]["mean"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert overall["pooled_strict_turn_accuracy"]["mean"] == pytest.approx(3 / 8)
    assert overall["pooled_strict_call_accuracy"]["mean"] == pytest.approx(5 / 12)
    assert overall["strict_success"]["mean"] == pytest.approx(1 / 3)
    assert summary["by_domain"]["Hotels"]["pooled_strict_turn_accuracy"]["mean"] == 1 / 4
    assert summary["by_domain"]["Cross"]["samples"] == 1
    for metric in METRICS:
        for name in (metric, f"pooled_{metric}"):
            assert overall[name]["low"] <= overall[name]["mean"] <= overall[name]["high"]
    assert summarize(rows[::-1]) == summary  # the order in which they finished says nothing
    assert any("Cross" in line and "100.0" in line for line in table_lines(summary))
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_samples_that_share_a_call_with_training_are_told_from_the_others():
    common = {"strict_counted_calls": 4, "reference_counted_calls": 4}
    rows = [
        {"id": "Cross-0", **row(0, "Cross", **common, strict_success=1, strict_calls=4)},
        {"id": "Cross-1", **row(1, "Cross", **common, strict_calls=2)},
        {"id": "Cross-2", **row(2, "Cross", **common, strict_calls=1)},
    ]
    by_seen = summarize(rows, seen={"Cross-0", "Cross-9"})["by_seen"]
    seen, unseen = by_seen["shares a call"], by_seen["shares no call"]
    assert (seen["samples"], unseen["samples"]) == (1, 2)
    assert seen["strict_success"]["mean"] == 1.0
    assert unseen["strict_success"]["mean"] == 0.0
    assert unseen["pooled_strict_call_accuracy"]["mean"] == pytest.approx(3 / 8)
    assert [*summarize(rows, seen=set())["by_seen"]] == ["shares no call"]  # no table of nobody
    assert "by_seen" not in summarize(rows)
