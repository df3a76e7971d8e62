"""Llama 3 JSON calls: read in order, faults typed, nothing raised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.calls.llama import parse_llama_calls
from tooltrain.calls.parser import PARSE_ERRORS
from tooltrain.types import Call

FIND = '{"name": "find", "parameters": {"q": "Rome"}}'


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (FIND, [Call("find", {"q": "Rome"})]),
        (f"<|python_tag|>{FIND}", [Call("find", {"q": "Rome"})]),
        (f" {FIND}; {FIND}\n{FIND}", [Call("find", {"q": "Rome"})] * 3),
        ('{"name": "find", "arguments": {"q": 1}}', [Call("find", {"q": 1})]),
        ('{"name": "find", "parameters": "{\\"q\\": 1}"}', [Call("find", {"q": 1})]),
        ('{"name": "find"}', [Call("find", {})]),
        (f"I call {FIND}", []),
        ("", []),
    ],
)
def test_calls_are_read_in_order(text, calls):
    assert parse_llama_calls(text) == calls


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("{", ["bad_json"]),
        (FIND + " and then", [None, "bad_json"]),
        (FIND + "; [1]", [None, "not_an_object"]),
        ('{"name": "a", "name": "b"}', ["duplicate_key"]),
        ('{"name": "a", "parameters": {"x": NaN}}', ["not_finite"]),
        ('{"name": "a", "parameters": null}', ["bad_arguments"]),
        ('{"parameters": {}}', ["bad_name"]),
        ('{"name": "a", "parameters": ' + "[" * 50 + "]" * 50 + "}", ["too_deep"]),
        ("{" + "x" * 70_000, ["too_large"]),
        ('{"name": "a"};' * 100, [None] * 64 + ["too_many_calls"]),
    ],
)
def test_faults_are_typed_and_end_the_reading(text, kinds):
    assert [getattr(call, "kind", None) for call in parse_llama_calls(text)] == kinds


@given(st.text(alphabet='{}[]":,; \\naeftu1.-\n', max_size=60))
def test_nothing_raises(text):
    for call in parse_llama_calls("{" + text):
        assert type(call) is Call or call.kind in PARSE_ERRORS
