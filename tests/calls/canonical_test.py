"""Canonical values: equal where BFCL finds strings equal, apart where types differ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.calls.canonical import (
    ARRAY,
    BOOLEAN,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    argument_type,
    canonical,
    hash64,
    json_type,
    value_hash64,
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("New York", "new-york"),
        ("Apr. 1, 2024", "april 1 2024".replace("april", "apr")),
        ("it's", 'IT"S'),
        ("", " ,./-_*^"),
        (7, 7.0),
        (0.0, -0.0),
        (10**400, 10**400),
        ([1, "A b"], [1.0, "ab"]),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}),
    ],
)
def test_these_are_equal(a, b):
    assert canonical(a) == canonical(b)
    assert value_hash64(a) == value_hash64(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("7", 7),
        (1, True),
        (0, False),
        (0, None),
        ("null", None),
        ("", None),
        ([], {}),
        ([], ""),
        (["a", "b"], ["b", "a"]),
        (["ab"], ["a", "b"]),
        ([["a"], "b"], [["a", "b"]]),
        ({"a": 1}, {"A": 1}),
        ({"a": 1}, {"a": 1, "b": None}),
        ("Paris", "Pariss"),
        (2.5, 2.25),
        (10**400, 10**400 + 1),
    ],
)
def test_these_are_not(a, b):
    assert canonical(a) != canonical(b)
    assert value_hash64(a) != value_hash64(b)


def test_types_are_json_s_with_booleans_apart():
    values = [None, True, 3, "x", [], {}]
    assert [json_type(value) for value in values] == [NULL, BOOLEAN, NUMBER, STRING, ARRAY, OBJECT]
    assert json_type(3.5) == json_type(3)
    assert argument_type(3.5) != argument_type(3)
    assert all(argument_type(v) >> 1 == json_type(v) for v in [*values, 3.5, [{}], {"a": 1}])


def test_other_python_values_are_refused_by_name():
    with pytest.raises(TypeError, match="got a set"):
        canonical({1})


def test_hashes_are_the_same_on_every_machine():
    assert hash64('"paris') == value_hash64("Paris") == 0xDE88DB4D2749C291


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(json_values, json_values)
def test_hashes_agree_exactly_where_canonical_forms_do(a, b):
    assert (canonical(a) == canonical(b)) == (value_hash64(a) == value_hash64(b))
    assert 1 <= value_hash64(a) < 2**64


@given(st.text())
def test_the_standard_form_is_stable(text):
    once = canonical(text)
    assert canonical(once[1:]) == once
