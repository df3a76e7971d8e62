"""Traces survive JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.data.traces import trace_from_json, trace_to_json
from tooltrain.types import Binding, GoldCall, Trace

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_text, inner, max_size=2),
    max_leaves=4,
)
_bindings = st.builds(
    Binding, _text, st.integers(0, 3), st.lists(_text | st.integers(0, 9)).map(tuple), _text
)
_calls = st.builds(
    GoldCall,
    _text,
    st.dictionaries(_text, _json, max_size=3),
    st.lists(st.integers(0, 3), max_size=2).map(tuple),
    st.lists(_bindings, max_size=2).map(tuple),
)
_traces = st.builds(
    Trace,
    _text,
    _text,
    _text,
    _text,
    st.lists(_text, max_size=3).map(tuple),
    st.lists(_calls, max_size=3).map(tuple),
    st.lists(_json, max_size=2).map(tuple),
    st.dictionaries(_text, st.integers() | st.floats(allow_nan=False), max_size=2),
)


@given(_traces)
def test_a_trace_comes_back(trace):
    whole = json.loads(json.dumps(trace_to_json(trace, responses=True)))
    assert trace_from_json(whole) == trace
    lean = json.loads(json.dumps(trace_to_json(trace)))
    assert trace_from_json(lean) == dataclasses.replace(trace, responses=())


def test_a_missing_field_is_an_error():
    with pytest.raises(KeyError, match="query"):
        trace_from_json({"id": "", "suite": "", "workflow": "", "calls": []})
