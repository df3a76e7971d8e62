"""The environment answers anything, always alike, and every gold call with its response."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tooltrain.calls.parser import parse_calls
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import Environment, open_environment
from tooltrain.env.schema import Tool
from tooltrain.env.suites.complexfuncbench import merge
from tooltrain.errors import UserError
from tooltrain.types import Call, MalformedCall, Observation, ObservationKind

PLACES = {"Rome": 1, "Oslo": 2}


def _nested(depth: int):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    path = tmp_path_factory.mktemp("world") / "places.sqlite"
    number, text = {"type": "number"}, {"type": "string"}
    with CacheWriter.create(path) as writer:
        for name, properties in (("find", {"name": text}), ("weather", {"id": number})):
            schema = {"type": "object", "properties": properties, "required": list(properties)}
            writer.add_tool(Tool(name, "", schema, name))
        for name, id_ in PLACES.items():
            writer.add_entry("find", {"name": name}, {"id": id_})
            writer.add_entry("weather", {"id": id_}, {"sky": "clear"})
        writer.add_entry("weather", {"id": "north"}, {"sky": "polar"})  # against the schema
    return open_environment(str(path), max_tokens=64, max_items=3, max_value_chars=64)


def test_a_recorded_call_gets_its_response(environment):
    found = environment.execute(Call("weather", {"id": "1.0"}))
    assert (found.kind, found.content) == (ObservationKind.OK, {"sky": "clear"})


def test_a_recorded_call_is_answered_even_where_the_schema_finds_fault(environment):
    assert environment.tools["weather"].validate({"id": "north"})
    assert environment.execute(Call("weather", {"id": "north"})).content == {"sky": "polar"}


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (Call("fnd", {}), "unknown_tool", "no tool 'fnd'; known tools: find, weather"),
        (
            Call("weather", {"id": "x", "day": 1}),
            "invalid_arguments",
            "argument 'id' must be number, got \"x\"; unknown argument 'day'; allowed: id",
        ),
        (
            Call("weather", {"id": 9}),
            "not_recorded",
            "the arguments are valid but no response of weather was recorded for them; "
            "recorded is the same with id=2",
        ),
        (
            Call("weather", {"id": "1", "x" * 99: 0}),
            "invalid_arguments",
            f"unknown argument '{'x' * 80}'; allowed: id",
        ),
        (
            Call("find", {"name": "\ud800"}),
            "invalid_arguments",
            "a text holds half of a surrogate pair; write the whole character",
        ),
        (
            Call("find", {"name": "x" * 100_000}),
            "invalid_arguments",
            "the arguments have 100011 characters; allowed: 65536",
        ),
        (
            Call("find", _nested(2_000)),
            "malformed",
            "a call is a tool's name and an object of arguments",
        ),
        (
            Call("find", {"name": _nested(20_000)}),
            "invalid_arguments",
            "the arguments are nested too deeply or hold an integer of too many digits",
        ),
        (MalformedCall("bad_json", "no object"), "malformed", "no object"),
    ],
)
def test_an_error_says_what_was_wrong(environment, call, kind, message):
    found = environment.execute(call)
    assert found.kind == kind
    assert not found.ok
    assert found.content == {"error": {"kind": kind, "message": message}}
    assert json.loads(environment.show(call, found)) == found.content


def test_a_tool_that_is_not_offered_is_unknown(environment):
    found = environment.execute(Call("find", {"name": "Rome"}), offered=["weather"])
    assert found.kind is ObservationKind.UNKNOWN_TOOL
    assert "find," not in found.content["error"]["message"]


def test_many_faults_are_counted(environment):
    found = environment.execute(Call("weather", {f"a{i}": 1 for i in range(1000)}))
    assert len(found.content["error"]["message"]) < 1000
    assert found.content["error"]["message"].endswith("and 993 more faults")


_strings = st.text(st.characters()) | st.text(st.characters(categories=["Cs"]), min_size=1)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(300, 5000).map(lambda digits: 10**digits)
    | st.floats()
    | _strings
    | st.sampled_from(["1e999", "٣", " 1 ", "1" * 5000, "Rome", 1])
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_strings, inner, max_size=3),
    max_leaves=6,
) | st.sampled_from([50, 990, 20_000]).map(_nested)
_calls = st.builds(
    Call,
    st.sampled_from(["find", "weather"]) | _strings,
    st.dictionaries(st.sampled_from(["id", "name"]) | _strings, _values, max_size=3),
) | st.builds(MalformedCall, st.just("bad_json"), _strings)


# What a policy may write between its tags, duplicate keys and broken JSON among it.
_texts = st.builds(
    '<tool_call>{{"name": {}, "arguments": {{{}: {}, {}: {}}}}}</tool_call>{}'.format,
    st.sampled_from(['"find"', '"weather"', "3", "NaN", '"\\ud800"']),
    *(
        st.sampled_from(['"id"', '"name"', '"\\u0000"'])
        if i % 2 == 0
        else st.sampled_from(
            ["1", "NaN", "-Infinity", '"\\ud83d\\ude00"', '"\\udc00"', "[" * 99, "1e999"]
        )
        for i in range(4)
    ),
    st.text(max_size=20),
)
# What no parser makes: still no reason to raise.
_not_calls = st.one_of(
    st.none(),
    st.builds(Call, _scalars, _values),
    st.builds(
        Call,
        st.sampled_from(["find", "weather"]),
        st.dictionaries(
            _scalars | st.just("id"), _values | st.just(object()) | st.just({1}), max_size=3
        ),
    ),
)


def _answers_alike(environment: Environment, call) -> None:
    first, second = environment.execute(call), environment.execute(call)
    assert isinstance(first, Observation)
    assert repr(first) == repr(second)
    text = environment.show(call, first)
    assert text == environment.show(call, second)
    json.loads(text)
    text.encode()  # fit for a tokenizer: no lone surrogate


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_calls | _not_calls)
def test_execute_never_raises_and_always_says_the_same(environment, call):
    _answers_alike(environment, call)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_texts)
def test_whatever_a_policy_writes_is_answered(environment, text):
    for call in parse_calls(text):
        _answers_alike(environment, call)


_SCALARS = [
    None, True, 0, -1, 1, 1.0, 10**400, 10**5000, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "Rome", "1", " 1 ", "1e999", "1" * 5000, "٣", "x" * 70_000, "\ud800", "\udc00\ud83d",
    "\U0001f600", "\0", '"', "Oslo\n",
]  # fmt: skip


def _random_value(rng: random.Random, depth: int = 0):
    kind = rng.random()
    if kind < 0.7 or depth > 3:
        return rng.choice(_SCALARS) if kind < 0.6 else rng.randint(-(2**70), 2**70)
    if kind < 0.72:
        return _nested(rng.choice([50, 254, 990, 20_000]))
    if kind < 0.86:
        return [_random_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {
        rng.choice(["a", "id", "\ud800", ""]): _random_value(rng, depth + 1)
        for _ in range(rng.randint(0, 3))
    }


def _random_call(rng: random.Random):
    kind = rng.random()
    name = rng.choice(["find", "weather", "weather", "fnd", "", "x" * 9999, "\ud800", "f\0", "é"])
    names = ["id", "name", "", "\udfff", "y" * 999]
    arguments = {rng.choice(names): _random_value(rng) for _ in range(rng.randint(0, 4))}
    if kind < 0.85:
        return Call(name, arguments)
    if kind < 0.9:  # what no parser makes
        return Call(rng.choice([name, None, 3]), rng.choice([arguments, None, [1], {1: 2, "a": 3}]))
    if kind < 0.92:
        return rng.choice([None, "find", 3, {"name": "find"}, Call("find", {"name": {1, 2}})])
    if kind < 0.94:
        return MalformedCall("bad_json", rng.choice(["", "\ud800", "x" * 9999]))
    pairs = ", ".join(
        f'"{rng.choice(["id", "name", "id"])}": {rng.choice(["1", "NaN", "[1", chr(34) * 3, "{}"])}'
        for _ in range(rng.randint(0, 4))
    )
    return f'<tool_call>{{"name": "find", "arguments": {{{pairs}}}}}</tool_call>'


def _fuzz(environment: Environment, num_calls: int) -> None:
    rng = random.Random(0)
    kinds = set()
    for _ in range(num_calls):
        call = _random_call(rng)
        for one in parse_calls(call) if isinstance(call, str) else [call]:
            _answers_alike(environment, one)
            kinds.add(environment.execute(one).kind)
    assert kinds == {"ok", "malformed", "unknown_tool", "invalid_arguments", "not_recorded"}


def test_2_000_calls_are_answered_alike(environment):
    _fuzz(environment, 2_000)


@pytest.mark.slow
def test_100_000_calls_are_answered_alike(environment):
    _fuzz(environment, 100_000)


def test_calls_of_one_turn_are_answered_in_their_order(environment):
    calls = [Call("find", {"name": name}) for name in ("Oslo", "Paris", "Rome", "Oslo")]
    found = environment.execute_all([*calls, MalformedCall("bad_json", "x")], offered=["find"])
    assert [f.kind for f in found] == ["ok", "not_recorded", "ok", "ok", "malformed"]
    assert [f.content for f in found[:1] + found[2:4]] == [{"id": 2}, {"id": 1}, {"id": 2}]


def test_what_is_far_from_all_that_is_recorded_gets_no_hint(tmp_path):
    text = {"type": "string"}
    properties = dict.fromkeys("abcd", text)
    with CacheWriter.create(tmp_path / "c.sqlite") as writer:
        writer.add_tool(Tool("t", "", {"type": "object", "properties": properties}))
        writer.add_entry("t", {"a": "1", "b": "1", "c": "1"}, {})
    environment = open_environment(str(tmp_path / "c.sqlite"))

    def message(**arguments: str) -> str:
        return environment.execute(Call("t", arguments)).content["error"]["message"]

    assert message(a="1", b="2", c="2").endswith('; recorded is the same with b="1", with c="1"')
    assert message(a="1", b="1", c="1", d="1").endswith('; recorded is the same without "d"')
    assert message(a="2", b="2", c="2").endswith("recorded for them")


def test_a_view_is_made_once_and_from_the_response_at_hand(booking_environment, monkeypatch):
    sample = next(booking_environment.cache.samples())
    call = Call(sample.calls[0].name, sample.calls[0].arguments)
    found = booking_environment.execute(call)
    environment = Environment(booking_environment.cache, booking_environment.projection)
    monkeypatch.setattr(environment, "cache", None)  # nothing more is read
    first = environment.show(call, found)
    monkeypatch.setattr(environment, "projection", None)
    assert environment.show(call, found) == first


def test_an_error_about_a_lone_surrogate_can_be_tokenized(environment):
    call = Call("weather", {"id": "\ud800"})
    text = environment.show(call, environment.execute(call))
    tokenizer = train_tokenizer([], 265)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_projection_out_of_range_is_one_clear_error(environment):
    with pytest.raises(UserError, match=r"config\.projection: max_tokens.* at least 1, got 0"):
        open_environment(str(environment.cache.path), max_tokens=0, max_items=1, max_value_chars=1)


def test_all_gold_calls_are_answered(booking_environment):
    kinds = [
        booking_environment.execute(Call(call.name, call.arguments)).kind
        for sample in booking_environment.cache.samples()
        for call in sample.calls
    ]
    assert len(kinds) == 5070
    assert set(kinds) == {ObservationKind.OK}


def test_an_answer_holds_all_that_a_sample_was_answered(booking_environment):
    for sample in list(booking_environment.cache.samples())[:200]:
        for call in sample.calls:
            found = booking_environment.execute(Call(call.name, call.arguments)).content
            assert merge(found, call.response) == found
