"""The recorder's loop: deterministic, resumable, patient, and within its limits."""

from __future__ import annotations

import collections
import random
import threading
import time

import pytest

from tooltrain.env.recorder.backend import Backend, Denied, ToolFailure, Unavailable
from tooltrain.env.recorder.callables import Callables
from tooltrain.env.recorder.limits import Limits, TokenBucket, backoff
from tooltrain.env.recorder.plan import Field, Plan, Range, ToolPlan, Values
from tooltrain.env.recorder.run import Report, record
from tooltrain.env.recorder.secrets import REMOVED, Secrets
from tooltrain.env.recording import Recording
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError


def _tool(name: str, /, **properties: dict) -> Tool:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return Tool(name, "", parameters)


INTEGER = {"type": "integer"}
LIST, GET, ADD = (
    _tool("list", page=INTEGER),
    _tool("get", id=INTEGER),
    _tool("add", a=INTEGER, b=INTEGER),
)


class _Live(Callables):
    """Real functions, and a record of what was asked. delays: in seconds, by random."""

    def __init__(self, delays: random.Random | None = None):
        super().__init__(
            [
                (LIST, lambda page: {"ids": [page * 10 + i for i in range(10)]}),
                (GET, self._get),
                (ADD, lambda a, b: {"sum": a + b, "next": [{"id": a * b % 997}]}),
            ]
        )
        self.asked: collections.Counter[tuple] = collections.Counter()
        self._delays, self._lock, self._wait = delays, threading.Lock(), threading.Event()

    def _get(self, id: int) -> dict:
        if id % 7 == 0:
            raise ToolFailure("no such id")
        return {"id": id, "square": id * id}

    def call(self, tool, arguments):
        with self._lock:
            self.asked[tool, *sorted(arguments.items())] += 1
            delay_s = self._delays.random() / 1000 if self._delays else 0
        self._wait.wait(delay_s)
        return super().call(tool, arguments)


IDS = Field("list", ("ids", "[]"))
PLAN = Plan(
    (
        ToolPlan("add", {"a": Field("get", ("square",)), "b": IDS}, max_requests=200),
        ToolPlan("get", {"id": IDS}, max_requests=60),
        ToolPlan("list", {"page": Range(0, 9)}),
    ),
    seed=5,
)


def _record(directory, backend, limits=Limits(), plan=PLAN) -> tuple[str, Report]:  # noqa: B008
    with Recording.open(directory) as recording:
        report = record(backend, plan, recording, limits, progress=False)
        cache = recording.seal(directory / "cache.sqlite")
    digest = cache.digest
    cache.close()
    return digest, report


def test_one_seed_gives_one_digest_whatever_the_concurrency(tmp_path):
    digest, report = _record(tmp_path / "a", _Live())
    other, _ = _record(tmp_path / "b", _Live(random.Random(1)), Limits(concurrency=16))
    assert digest == other
    assert report.complete
    assert report.total("recorded") + report.total("failed") == 10 + 60 + 200
    assert 0 < report.tools["get"].failures["no such id"] < 60
    another, _ = _record(tmp_path / "c", _Live(), plan=Plan(PLAN.tools, seed=6))
    assert another != digest


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_run_cut_into_pieces_asks_nothing_twice_and_ends_alike(tmp_path, concurrency):
    digest, _ = _record(tmp_path / "whole", _Live())
    live, runs = _Live(), 0
    report = Report({}, stopped="not begun")
    while report.stopped:
        limits = Limits(concurrency=concurrency, max_attempts=60)
        last, report = _record(tmp_path / "pieces", live, limits)
        runs += 1
    assert last == digest
    assert runs >= 5
    answered_twice = {
        request
        for request, times in live.asked.items()
        if times > 1 and not (request[0] == "get" and request[1][1] % 7 == 0)
    }
    assert answered_twice == set()  # only what failed is asked again
    assert report.total("already") > 0


def test_the_tool_graph_of_the_plan_is_in_the_cache(tmp_path):
    with Recording.open(tmp_path) as recording:
        record(_Live(), PLAN, recording, progress=False)
        edges = recording.seal(tmp_path / "cache.sqlite").edges()
    assert {(e.source, e.path, e.target, e.argument) for e in edges} == {
        ("get", ("square",), "add", "a"),
        ("list", ("ids", "[]"), "add", "b"),
        ("list", ("ids", "[]"), "get", "id"),
    }


class _Faulty(Backend):
    """One tool, whose `n`-th request is answered by what `say` returns or raises."""

    def __init__(self, say, secrets=Secrets()):  # noqa: B008
        self.tools, self._say, self.secrets = {"get": GET}, say, secrets
        self.times: collections.Counter[int] = collections.Counter()

    def call(self, tool, arguments):
        self.times[arguments["id"]] += 1
        return self._say(arguments["id"], self.times[arguments["id"]])


def _faulty(tmp_path, say, requests=10, secrets=Secrets(), **limits):  # noqa: B008
    plan = Plan((ToolPlan("get", {"id": Range(0, requests - 1)}),))
    backend = _Faulty(say, secrets)
    with Recording.open(tmp_path) as recording:
        options = {"backoff_s": 0.001, "max_backoff_s": 0.5} | limits
        report = record(backend, plan, recording, Limits(**options), progress=False)
        entries = list(recording.entries("get"))
    return backend, report, entries


def test_what_passes_is_tried_again_and_what_does_not_is_not(tmp_path):
    def say(n, time):
        if n == 0:
            raise ToolFailure("final")
        if time < n:
            raise Unavailable("busy")
        return {"n": n}

    backend, report, entries = _faulty(tmp_path, say, requests=6, attempts=4)
    assert sorted(arguments["id"] for arguments, _ in entries) == [1, 2, 3, 4]
    assert backend.times == {0: 1, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4}
    assert report.tools["get"].failures == {"final": 1, "busy": 1}
    assert report.retries == 1 + 2 + 3 + 3


def test_a_tool_that_is_down_is_left_alone_and_can_be_taken_up_again(tmp_path):
    def down(n, time):
        raise Denied("wrong key")

    backend, report, entries = _faulty(tmp_path, down, requests=100, give_up_after=7)
    assert sum(backend.times.values()) == 7
    assert report.tools["get"].left_alone
    assert (report.tools["get"].failed, report.tools["get"].not_asked) == (7, 93)
    assert not report.complete
    _, report, entries = _faulty(tmp_path, lambda n, time: {"n": n}, requests=100)
    assert len(entries) == 100
    assert report.complete


def test_a_pause_longer_than_our_patience_is_no_reason_to_wait(tmp_path):
    def say(n, time):
        raise Unavailable("quota", retry_after_s=86400)

    backend, report, _ = _faulty(tmp_path, say, requests=3)
    assert backend.times == {0: 1, 1: 1, 2: 1}
    assert report.tools["get"].failures == {"quota": 3}


def test_credentials_reach_neither_cache_nor_report(tmp_path):
    def say(n, time):
        if n % 3 == 0:
            raise ToolFailure("bad key s3cret-key!")
        return {"n": n, "echo": "czNjcmV0LWtleSE=" if n % 3 == 1 else "fine"}

    _, report, entries = _faulty(tmp_path, say, secrets=Secrets(["s3cret-key!"]))
    assert sorted(response["n"] for _, response in entries) == [2, 5, 8]
    assert report.tools["get"].failures == {
        f"bad key {REMOVED}": 4,
        "the request or its response holds a credential": 3,
    }
    for path in tmp_path.iterdir():
        assert b"s3cret-key!" not in path.read_bytes()


def test_a_response_that_is_no_json_is_a_failure(tmp_path):
    said = [object(), {"x": {1, 2}}, {"ok": 1}, float("nan")]
    _, report, entries = _faulty(tmp_path, lambda n, time: said[n], requests=4)
    assert [response for _, response in entries] == [{"ok": 1}]
    assert report.tools["get"].failed == 3


@pytest.mark.parametrize("secrets", [Secrets(), Secrets(["s3cret-key!"])])
def test_what_a_cache_can_hold_is_recorded_and_asked_with(tmp_path, secrets):
    odd = [2**70, "\ud800", "plain"]
    plan = Plan(
        (
            ToolPlan("list", {"page": Values((1,))}),
            ToolPlan("look", {"id": Field("list", ("ids", "[]"))}),
        )
    )
    look = _tool("look", id={})
    backend = Callables([(LIST, lambda page: {"ids": odd}), (look, lambda id: {"found": id})])
    backend.secrets = secrets
    with Recording.open(tmp_path) as recording:
        report = record(backend, plan, recording, progress=False)
        assert [response for _, response in recording.entries("list")] == [{"ids": odd}]
        found = [response["found"] for _, response in recording.entries("look")]
    assert sorted(map(str, found)) == [str(2**70), "plain"]
    assert report.tools["look"].invalid == 1  # half of a surrogate pair is no text


def test_an_error_of_the_recorders_own_is_not_swallowed(tmp_path):
    def say(n, time):
        raise ZeroDivisionError

    for concurrency in (1, 4):
        with pytest.raises(ZeroDivisionError):
            _faulty(tmp_path, say, concurrency=concurrency)


def test_tools_whose_arguments_nobody_gave_are_named(tmp_path):
    tools = Callables([(LIST, lambda page: {}), (GET, lambda id: {})])
    plan = Plan((ToolPlan("list", {"page": Values((1,))}), ToolPlan("get", {"id": IDS})))
    with Recording.open(tmp_path) as recording:
        report = record(tools, plan, recording, progress=False)
    assert report.tools["get"].wanting == ["id"]
    assert "no value found for id" in "\n".join(report.lines())


def test_the_bucket_keeps_its_rate_and_saves_up_a_burst():
    bucket = TokenBucket(rate_per_s=10, burst=3)
    start = 1000.0
    turns = [bucket.reserve(start) - start for _ in range(5)]
    assert turns == pytest.approx([0, 0, 0, 0.1, 0.2])
    assert bucket.reserve(start + 100) == start + 100
    unbounded = TokenBucket(None)
    assert {unbounded.reserve(5.0) for _ in range(100)} == {5.0}


def test_after_a_pause_the_bucket_keeps_its_rate(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    for burst, turns in ((1, [30, 30.1, 30.2, 30.3]), (3, [30, 30, 30, 30.1])):
        bucket = TokenBucket(rate_per_s=10, burst=burst)
        assert bucket.reserve(1000.0) == 1000.0
        bucket.pause(30)
        assert [bucket.reserve(1000.5) - 1000 for _ in range(4)] == pytest.approx(turns)


def test_backoff_grows_to_its_bound_and_is_spread_out():
    limits, rng = Limits(backoff_s=1, max_backoff_s=20), random.Random(0)
    for retry, bound in enumerate((1, 2, 4, 8, 16, 20, 20)):
        waits = [backoff(retry, limits, rng) for _ in range(300)]
        assert 0 <= min(waits) < 0.1 * bound
        assert 0.9 * bound < max(waits) <= bound
    assert backoff(10_000, limits, rng) <= 20


def test_limits_of_nothing_are_one_clear_error():
    with pytest.raises(UserError, match="rate_per_s must be above 0, got 0"):
        Limits(rate_per_s=0)
