"""BFCL through our adapter and through its own checkers, the package in a place of its own.

What its own checkers make of the same answers is asked of them directly, also of its own
executor, which evaluates the strings that it is given; those are gold's, or gold's damaged.
"""

import copy
import http.server
import importlib
import json
import random
import subprocess
import sys
import threading
import types

import pytest

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.budget import Budget
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.eval import bfcl as package
from tooltrain.eval.bfcl import MULTI_TURN, SINGLE_TURN, VERSION, Bfcl, Entry
from tooltrain.eval.bfcl_evaluate import check, evaluate, summarize, table_lines
from tooltrain.eval.bfcl_multi_turn import World, _read_call, check_multi_turn, gold_turns
from tooltrain.eval.bfcl_players import Answered, EndpointPlayer, PolicyPlayer
from tooltrain.eval.endpoint import Endpoint
from tooltrain.rollout.turns import Limits, Turns, start
from tooltrain.types import Call, MalformedCall


@pytest.fixture(scope="module")
def bfcl(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, f"--target={site}", f"bfcl-eval=={VERSION}", "mpmath"], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"bfcl-eval could not be installed: {done.stderr.decode()[-300:]}")
    sys.path.append(str(site))
    importlib.invalidate_caches()
    yield Bfcl.open()
    sys.path.remove(str(site))
    for name in [name for name in sys.modules if name.split(".")[0] == "bfcl_eval"]:
        del sys.modules[name]


def test_without_the_package_the_way_to_it_is_named(monkeypatch):
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"--no-deps bfcl-eval=={VERSION}"):
        Bfcl.open()


# --- gold answers as a policy would write them --------------------------------------------


# Tests whose gold no answer can equal: allowed values are missing, name an argument that
# the function has not, or are typed as the checker never reads them.
UNSATISFIABLE = {
    "simple_java_36",
    "simple_java_65",
    "live_simple_106-63-0",
    "live_simple_112-68-0",
    "live_multiple_862-181-3",
    "live_multiple_964-207-0",
}


def plain(value):
    """One of the allowed values of a possible answer; objects allow values by key."""
    if isinstance(value, dict):
        return {
            k: next(a for a in v if a != "") for k, v in value.items() if set(map(str, v)) - {""}
        }
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [plain(item) for item in value]
    return value


def java(value, kind, nested=None):
    if isinstance(value, str):
        return value
    if kind in ("Array", "ArrayList"):
        quote = '"' if kind == "ArrayList" and nested in ("String", "char") else ""
        items = ", ".join(f"{quote}{java(item, nested)}{quote}" for item in value)
        if kind == "Array":
            return f"new {nested}[]{{{items}}}"
        return f"new ArrayList<{nested}>(Arrays.asList({items}))"
    if kind == "HashMap":
        puts = " ".join(f'put("{k}", {_java_value(v)});' for k, v in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value}{ {'long': 'L', 'float': 'f'}.get(kind, '') }"


def _java_value(value):
    return json.dumps(value)


def javascript(value):
    return value if isinstance(value, str) else json.dumps(value)


def gold(entry):
    """Gold of a single-turn test as calls with offered names."""
    names = {tool.original_name: tool.name for tool in entry.tools}
    required = {f["name"]: f["parameters"].get("required", ()) for f in entry.data["function"]}
    schemas = {f["name"]: f["parameters"]["properties"] for f in entry.data["function"]}
    calls = []
    for answer in entry.answer:
        ((name, parameters),) = answer.items()
        arguments = {}
        for parameter, allowed in parameters.items():
            given = [value for value in allowed if value != ""] or allowed[:1]
            schema = schemas[name].get(parameter)
            if schema is None or not given or (given == [""] and parameter not in required[name]):
                continue
            value = plain(given[0])
            language = SINGLE_TURN[entry.category]
            if language == "JAVA":
                value = java(value, schema["type"], schema.get("items", {}).get("type"))
            elif language == "JAVASCRIPT":
                value = javascript(value)
            arguments[parameter] = value
        calls.append(Call(names[name], arguments))
    return calls


def own_verdict(bfcl, entry, calls):
    """What the package's checker says, asked without our adapter."""
    checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
    languages = importlib.import_module("bfcl_eval.constants.enums").Language
    written = {tool.name: tool.original_name.replace(".", "_") for tool in entry.tools}
    return checker.ast_checker(
        copy.deepcopy(entry.data["function"]),
        [{written.get(c.name, c.name): copy.deepcopy(c.arguments)} for c in calls],
        entry.answer,
        languages[SINGLE_TURN[entry.category]],
        entry.category,
        "tooltrain",
    )["valid"]


def damaged(calls, kind):
    calls = copy.deepcopy(calls)
    if kind == "missing call":
        return calls[:-1]
    if kind == "extra call":
        return [*calls, calls[0]]
    if kind == "wrong tool":
        return [Call("no_such_tool", calls[0].arguments), *calls[1:]]
    if not calls[0].arguments:
        return [Call("no_such_tool", {}), *calls[1:]]
    calls[0].arguments[next(iter(calls[0].arguments))] = {"no such": "value"}
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("category", SINGLE_TURN)
def test_single_turn_answers_pass_as_through_the_packages_own_checker(bfcl, category):
    entries = bfcl.entries(category)
    assert all(entry.tools for entry in entries)
    failing = set()
    refused = 0
    for entry in entries:
        calls = gold(entry)
        verdict = bfcl.check_single_turn(entry, calls)
        assert verdict.valid == own_verdict(bfcl, entry, calls), entry.id
        failing |= set() if verdict.valid else {entry.id}
        for kind in ("missing call", "extra call", "wrong tool"):
            wrong = damaged(calls, kind)
            assert not bfcl.check_single_turn(entry, wrong).valid, (entry.id, kind)
        bad = [*calls[:-1], MalformedCall("bad_json", "not JSON")]
        assert bfcl.check_single_turn(entry, bad).error == "malformed"
        refused += not bfcl.check_single_turn(entry, damaged(calls, "wrong value")).valid
    # Some tests allow any value, or have none; most refuse an object.
    assert refused > len(entries) / 2
    assert failing == {entry.id for entry in entries} & UNSATISFIABLE


@pytest.mark.slow
def test_tools_have_names_that_chat_apis_take_and_schemas_of_their_own(bfcl):
    for category in (*SINGLE_TURN, MULTI_TURN):
        for entry in bfcl.entries(category):
            names = [tool.name for tool in entry.tools]
            assert len(set(names)) == len(names)
            assert all(name.replace("_", "").replace("-", "").isalnum() for name in names)
            json.dumps([dict(tool.parameters) for tool in entry.tools])


# --- several turns ------------------------------------------------------------------------


def own_multi_turn_verdict(entry, turns, name):
    """The package's checker with its own executor: turns[t][s] are Python sources."""
    checker = importlib.import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker")
    return checker.multi_turn_checker(turns, entry.answer, dict(entry.data), MULTI_TURN, name)


@pytest.mark.slow
def test_multi_turn_gold_passes_200_of_200_in_both(bfcl):
    entries = bfcl.entries(MULTI_TURN)
    ours = theirs = 0
    for entry in entries:
        turns = [[calls] for calls in gold_turns(entry, World(bfcl, entry))]
        ours += check_multi_turn(bfcl, entry, turns).valid
        sources = [[calls] for calls in entry.answer]
        theirs += own_multi_turn_verdict(entry, sources, "gold")["valid"]
    assert (ours, theirs, len(entries)) == (200, 200, 200)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing call", "repeated call", "no answer", "one step each"])
def test_multi_turn_verdicts_equal_the_packages_own(bfcl, damage):
    verdicts = []
    for entry in bfcl.entries(MULTI_TURN):
        rng = random.Random(f"{damage} {entry.id}")
        turn = rng.choice([t for t, calls in enumerate(entry.answer) if calls])
        call = rng.randrange(len(entry.answer[turn]))
        gold = gold_turns(entry, World(bfcl, entry))

        def damage_it(turns, turn=turn, call=call):
            turns = [[list(calls)] for calls in turns]
            if damage == "missing call":
                del turns[turn][0][call]
            elif damage == "repeated call":
                turns[turn][0].insert(call, turns[turn][0][call])
            elif damage == "no answer":
                turns[turn] = []
            else:
                turns = [[[c] for c in steps[0]] for steps in turns]
            return turns

        ours = check_multi_turn(bfcl, entry, damage_it(gold))
        theirs = own_multi_turn_verdict(entry, damage_it(entry.answer), damage.replace(" ", "_"))
        assert ours.valid == theirs["valid"], entry.id
        assert ours.error == theirs.get("error_type", ""), entry.id
        verdicts.append(ours.valid)
    if damage == "one step each":
        assert all(verdicts)
    else:
        assert sum(verdicts) < 200  # some repeated calls change nothing


@pytest.mark.slow
def test_an_unfinished_conversation_is_invalid(bfcl):
    entry = bfcl.entries(MULTI_TURN)[0]
    turns = [[calls] for calls in gold_turns(entry, World(bfcl, entry))]
    assert check_multi_turn(bfcl, entry, turns[:-1]).error == "multi_turn:force_terminated"


HOSTILE = (
    "__import__('os').system('touch {path}')",
    "open('{path}', 'w')",
    "exec(\"open('{path}', 'w')\")",
)


@pytest.mark.slow
def test_no_string_of_a_policy_is_ever_evaluated(bfcl, tmp_path, monkeypatch):
    """Names, argument names and values that are source text stay what they are: text."""
    path = tmp_path / "evaluated"
    entry = bfcl.entries(MULTI_TURN)[0]
    world = World(bfcl, entry)
    for name in ("eval", "exec"):  # `compile` parses gold

        def refuse(*args, name=name, **kwargs):
            raise AssertionError(f"{name} was called")

        monkeypatch.setattr(f"builtins.{name}", refuse)
    for text in HOSTILE:
        source = text.format(path=path)
        calls = [
            Call(source, {}),
            Call("cd", {source: 1}),
            Call("cd", {"folder": source}),
            Call("echo", {"content": source, "file_name": source}),
            Call("mv", {"source": [source], "destination": {source: source}}),
        ]
        for call in calls:
            assert isinstance(world.execute(call), str)
        check_multi_turn(bfcl, entry, [[calls]] * len(entry.answer))
        single = bfcl.entries("simple_python")[0]
        bfcl.check_single_turn(single, calls[:1])
    monkeypatch.undo()
    assert not path.exists()
    for private in ("_load_scenario", "__init__", "__class__", "get_method_called"):
        assert "is not defined" in world.execute(Call(private, {}))
    with pytest.raises(ValueError, match="malformed node"):
        _read_call("cd(folder=__import__('os').getcwd())", world)


# --- played and kept ----------------------------------------------------------------------


class GoldPlayer:
    identity = {"player": "gold"}  # noqa: RUF012 (a constant)

    def __init__(self):
        self.played = 0

    def play(self, entries, bfcl):
        self.played += len(entries)
        for entry in entries:
            if entry.category == MULTI_TURN:
                turns = [[calls] for calls in gold_turns(entry, World(bfcl, entry))]
            else:
                turns = [[gold(entry)]]
            yield Answered(entry, turns)


@pytest.mark.slow
def test_an_evaluation_goes_on_where_it_was(bfcl, tmp_path):
    entries = [e for c in ("simple_python", MULTI_TURN) for e in bfcl.entries(c)[:20]]
    player = GoldPlayer()
    evaluate(player, bfcl, entries[:25], tmp_path, progress=False)
    summary = evaluate(player, bfcl, entries, tmp_path, progress=False)
    assert player.played == 40
    assert {row["mean"] for row in summary["by_category"].values()} == {1.0}
    assert [row["tests"] for row in summary["by_category"].values()] == [20, 20]
    assert check(bfcl, Answered(entries[0], [])).valid is False


def test_a_policys_calls_are_its_answer_whatever_a_tool_would_say():
    template = ChatTemplate(train_tokenizer([], 300))
    calls = [Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})]
    limits = Limits(1, 400, None, None, None, 4000, None, None, Budget())

    def play(entries, prompt, environment, *, max_turns):
        assert max_turns == limits.max_turns
        for entry in entries:
            episode = start(prompt(entry), 0)
            written = template.completion(calls)
            episode.extend(written, [0.0] * len(written))
            Turns(environment, template, limits, None).close(episode)
            yield entry, episode.finished()

    properties = {name: {"type": "integer"} for name in "ab"}
    tool = Tool("add", "adds", {"type": "object", "properties": properties, "required": []})
    message = {"role": "user", "content": "1 + 2 and 3 + 4?"}
    entry = Entry("parallel_0", "parallel", ((message,),), (tool,), None, {})
    policy = types.SimpleNamespace(identity={"player": "sft"}, template=template, play=play)
    (answered,) = PolicyPlayer(policy).play([entry], None)
    assert answered == Answered(entry, [[calls]])


class GoldServer(http.server.ThreadingHTTPServer):
    """Serves gold in OpenAI's shape, one answer of calls a user turn, then a word."""

    daemon_threads = True

    def __init__(self, bfcl, entries):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gold = {
            json.dumps(entry.messages[0]): gold_turns(entry, World(bfcl, entry))
            if entry.category == MULTI_TURN
            else [gold(entry)]
            for entry in entries
        }
        self.bodies: list[dict] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        messages = body["messages"]
        turns = next(
            turns
            for first, turns in self.server.gold.items()
            if messages[: len(json.loads(first))] == json.loads(first)
        )
        user_turn = sum(m["role"] == "assistant" and not m.get("tool_calls") for m in messages)
        calls = turns[user_turn] if messages[-1]["role"] != "tool" else []
        message = {"role": "assistant", "content": "Done." if not calls else None}
        if calls:
            message["tool_calls"] = [
                {
                    "id": f"{len(messages)}-{i}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for i, call in enumerate(calls)
            ]
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "x", "object": "chat.completion", "created": 0, "choices": [choice]}
        data = json.dumps({**answer, "model": body["model"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.mark.slow
def test_an_endpoint_that_answers_gold_passes_single_and_multi_turn(bfcl, tmp_path):
    pytest.importorskip("openai")
    entries = [e for c in ("multiple", "parallel", MULTI_TURN) for e in bfcl.entries(c)[:30]]
    with GoldServer(bfcl, entries) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        player = EndpointPlayer(Endpoint(url, "gold", max_retries=0))
        summary = evaluate(player, bfcl, entries, tmp_path, progress=False)
        server.shutdown()
    assert {row["mean"] for row in summary["by_category"].values()} == {1.0}
    # The environment's answers went back to the endpoint, each to the call it answers.
    answered = [m for body in server.bodies for m in body["messages"] if m["role"] == "tool"]
    assert answered
    assert all(m["tool_call_id"] and isinstance(m["content"], str) for m in answered)


def test_tables_count_what_is_valid_by_category():
    rows = [
        {"id": f"a{i}", "category": "multiple", "valid": i < 3, "error": "" if i < 3 else "wrong"}
        for i in range(4)
    ]
    summary = summarize(rows)
    assert summary["by_category"]["multiple"]["mean"] == 0.75
    assert summary["errors"] == {"wrong": 1}
    assert "75.0" in table_lines(summary)[0]
    with pytest.raises(ValueError, match="no tests"):
        summarize([])
