"""Queries of an endpoint: asked for once, many at a time, held to the check. The endpoint
is a real HTTP server that speaks the protocol; its "model" reads the prompt it is sent."""

from __future__ import annotations

import collections
import contextlib
import http.server
import json
import threading

import pytest

pytest.importorskip("openai")

from tests.given_flags import given
from tooltrain.cli.synthesize import FLAGS, synthesize
from tooltrain.data.dataset import open_traces
from tooltrain.data.pipeline import gold_views
from tooltrain.errors import UserError
from tooltrain.synthesis.completions import Completions
from tooltrain.synthesis.derive import leaks, underivable
from tooltrain.synthesis.generate import TRAIN, Settings, plan, streams
from tooltrain.synthesis.stream import TraceWriter
from tooltrain.synthesis.writer import QueryWriter, cleaned, request, which
from tooltrain.types import Binding

SETTINGS = Settings(
    "booking", max_calls=3, min_support=60, max_fillings_per_workflow=12, train_traces=30
)
KEY = "sk-not-to-be-stored"


class Server(http.server.ThreadingHTTPServer):
    """style: how the model answers, given the plan and how often this plan was asked for."""

    daemon_threads = True

    def __init__(self, style):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.style = style
        self.seen: list[dict] = []
        self.keys: set[str] = set()
        self.asked: collections.Counter[str] = collections.Counter()
        self.lock = threading.Lock()
        self.running = self.most_running = 0
        self.pair = threading.Barrier(2)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.running += 1
            server.most_running = max(server.most_running, server.running)
            server.seen.append(body)
            server.keys.add(self.headers["Authorization"])
        # The first two requests wait for each other: they must come at one time.
        with contextlib.suppress(threading.BrokenBarrierError):
            server.pair.wait(timeout=10)
        server.pair.abort()
        plan_ = json.loads(body["messages"][1]["content"])
        with server.lock:
            server.asked[plan_["request"]] += 1
            times = server.asked[plan_["request"]]
        status, text = server.style(plan_, times)
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
        }
        payload = json.dumps(answer if status == 200 else {"error": {"message": text}}).encode()
        with server.lock:
            server.running -= 1
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


def _obedient(plan_, times=1):
    """Says all that it was told to say."""
    said = []
    for step in plan_["steps"]:
        for value in step["say"].values():
            said.append(value["words"][0] if isinstance(value, dict) else str(value))
        said += [take["which"] for take in step.get("takes", ())]
    return 200, f'"I need this for {", ".join(said)}."'


def _careless(plan_, times):
    """Forgets everything at first, gives a name away next, and never words some plans."""
    if int(plan_["request"].partition("-")[2]) % 7 == 0:
        return 200, "No idea."
    if times == 1:
        return 200, "Find me something."
    if times == 2:
        return 200, _obedient(plan_)[1] + " Use Search_Attraction_Location."
    return _obedient(plan_)


def _shaky(plan_, times):
    return (500, "try again") if times == 1 else _obedient(plan_)


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = []

    def start(style) -> Server:
        server = Server(style)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def planned(booking_environment):
    return plan(booking_environment, SETTINGS, progress=False)


@pytest.fixture
def written(planned, booking_environment, tmp_path):
    def write(server, **more):
        completions = Completions(tmp_path / "kept.jsonl", base_url=server.url, model="small")
        writer = QueryWriter(
            completions,
            TraceWriter(booking_environment, SETTINGS),
            booking_environment.tools,
            parallel=4,
            **more,
        )
        stream = streams(planned, booking_environment, SETTINGS)[TRAIN]
        return list(writer.traces(stream, seed=0)), writer, completions

    return write


def test_written_queries_are_derivable_and_in_order(serve, written, booking_environment):
    server = serve(_obedient)
    traces, writer, _ = written(server)
    assert len(traces) > 20
    assert len(traces) + sum(writer.rejected.values()) == 30
    numbers = [int(trace.id.partition("-")[2]) for trace in traces]
    assert numbers == sorted(numbers)
    for trace in traces:
        views = gold_views(trace, booking_environment)
        assert underivable(trace, views, booking_environment.tools) == []
        assert trace.query.startswith("I need this for")
    assert server.most_running >= 2
    assert server.keys == {f"Bearer {KEY}"}


def test_the_prompt_gives_away_neither_tools_nor_bound_values(serve, written):
    server = serve(_obedient)
    traces, _, _ = written(server)
    bound = {
        str(call.arguments[b.argument])
        for trace in traces
        for call in trace.calls
        for b in call.bindings
        if len(str(call.arguments[b.argument])) > 6
    }
    names = {name for trace in traces for name in trace.tools if "_" in name}
    for body in server.seen:
        steps = json.loads(body["messages"][1]["content"])["steps"]
        said = json.dumps([{k: v for k, v in step.items() if k != "does"} for step in steps])
        assert not [value for value in bound | names if value in said]


def test_answers_that_fail_are_asked_for_again_with_the_reason_and_then_counted(serve, written):
    server = serve(_careless)
    traces, writer, completions = written(server, tries=3)
    assert len(traces) > 10
    assert not any(leaks(trace) for trace in traces)
    assert all(int(t.id.partition("-")[2]) % 7 for t in traces)
    assert sum(writer.rejected.values()) == 30 - len(traces)
    assert any(reason.startswith("not stated: ") for reason in writer.rejected)
    assert any(reason.startswith("not stated: ") for reason in writer.retried)
    assert completions.asked == len(server.seen)
    last = max(server.seen, key=lambda body: len(body["messages"]))["messages"]
    assert len(last) == 6
    assert last[3]["content"].startswith("Not yet: the request does not state '")


def test_a_second_run_asks_for_nothing_and_a_cut_file_for_what_is_lost(serve, written, tmp_path):
    server = serve(_obedient)
    first, _, completions = written(server)
    asked = len(server.seen)
    assert asked == completions.asked
    again, _, completions = written(server)
    assert again == first
    assert (completions.asked, len(server.seen)) == (0, asked)
    kept = tmp_path / "kept.jsonl"
    assert KEY not in kept.read_text()
    kept.write_bytes(kept.read_bytes()[:-20])
    again, _, completions = written(server)
    assert again == first
    assert completions.asked == 1


def test_a_server_that_fails_now_and_then_is_asked_again(serve, written):
    traces, _, completions = written(serve(_shaky))
    assert len(traces) > 20
    assert completions.asked >= len(traces)


def test_an_endpoint_that_refuses_is_one_clear_error(serve, written):
    with pytest.raises(UserError, match="gave no completion: NotFoundError"):
        written(serve(lambda plan_, times: (404, "no such model")))


def test_a_file_of_something_else_is_refused(serve, tmp_path):
    (tmp_path / "kept.jsonl").write_text("not this\n")
    with pytest.raises(UserError, match="line 1 is no kept completion"):
        Completions(tmp_path / "kept.jsonl", base_url="http://127.0.0.1:1/v1", model="m")


def test_the_command_writes_a_dataset_with_the_endpoint(
    serve, booking_config, booking_cache, tmp_path, capsys
):
    server = serve(_obedient)
    booking_config.cache = str(booking_cache)
    booking_config.tokenizer.vocab_size = 400
    booking_config.synthesis.max_calls = 2
    booking_config.synthesis.min_support = 100
    booking_config.synthesis.queries_per_filling = 1
    with booking_config.unlocked():
        booking_config.synthesis.max_fillings_per_workflow = 12
    with given(FLAGS, writer_url=server.url):
        with pytest.raises(UserError, match="--writer_model is missing"):
            synthesize(booking_config, str(tmp_path))
        with given(FLAGS, writer_model="small"):
            synthesize(booking_config, str(tmp_path))
    assert f"{len(server.seen):,} completions asked for, 0 kept before" in capsys.readouterr().out
    train = open_traces(tmp_path / "traces", "train")
    assert all(trace.query.startswith("I need this for") for trace in train[:20])


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("first", "the first result"),
        ("", "the result"),
        ("nth(2)", "the second result"),
        ("argmin(price.amount)", "the cheapest one"),
        ("where(name=Hotel = Roma)", 'the one called "Hotel = Roma"'),
    ],
)
def test_the_prompt_says_which_result_is_meant(selector, words):
    assert which(Binding("id", 0, (0, "id"), selector)) == words


def test_requests_for_one_filling_differ_and_quotes_are_taken_off(planned, booking_environment):
    draft = planned.splits[TRAIN][0]
    one, two = (request(name, draft, booking_environment.tools) for name in ("a", "b"))
    assert one[0] == two[0]
    assert one[1] != two[1]
    assert cleaned(' "Find\n it." ') == "Find it."
