"""The environment answers anything, always alike, and every gold call with its response."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import Environment, open_environment
from tooltrain.env.schema import Tool
from tooltrain.env.suites.complexfuncbench import merge
from tooltrain.errors import UserError
from tooltrain.types import Call, MalformedCall, ObservationKind

PLACES = {"Rome": 1, "Oslo": 2}


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
            "the arguments are valid but no response of weather was recorded for them",
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


def _nested(depth: int):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_calls)
def test_execute_never_raises_and_always_says_the_same(environment, call):
    first, second = environment.execute(call), environment.execute(call)
    assert first == second
    text = environment.show(call, first)
    assert text == environment.show(call, second)
    json.loads(text)
    text.encode()  # fit for a tokenizer: no lone surrogate


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
