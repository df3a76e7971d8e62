"""Schemas: one key for one request, and faults that say what was got and what is allowed."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.env.schema import Tool, number_text, safe_name, shown

TOOL = Tool(
    "Search",
    "",
    {
        "type": "object",
        "properties": {
            "place": {"type": "string"},
            "adults": {"type": "number", "default": 1},
            "price": {"type": "number"},
            "nights": {"type": "integer"},
            "pets": {"type": "boolean", "default": False},
            "sort": {"type": "string", "enum": ["price", "stars"]},
            "level": {"type": "number", "enum": [1, 2]},
            "ages": {"type": "array", "items": {"type": "number"}},
            "where": {
                "type": "object",
                "properties": {"lat": {"type": "number"}},
                "required": ["lat"],
            },
        },
        "required": ["place"],
    },
)


def test_arguments_are_sorted_in_the_key():
    key = TOOL.canonical({"price": 3, "place": "Rome"})
    assert key == '{"place":"Rome","price":3}'
    assert key == TOOL.canonical({"place": "Rome", "price": 3})


@pytest.mark.parametrize("same", [4, 4.0, "4", " 4 ", "4.0", "+4", "4e0"])
def test_numbers_compare_as_numbers(same):
    assert TOOL.canonical({"price": same}) == '{"price":4}'


@pytest.mark.parametrize("other", [True, "four", "4_0", "4,0", [4], None, "inf", "nan"])
def test_what_is_no_number_is_another_request(other):
    assert TOOL.canonical({"price": other}) != TOOL.canonical({"price": 4})


def test_a_number_where_text_is_wanted_is_its_text():
    assert TOOL.canonical({"place": 4.0}) == TOOL.canonical({"place": "4"}) == '{"place":"4"}'
    assert TOOL.canonical({"place": "04"}) != TOOL.canonical({"place": 4})


def test_an_optional_argument_equal_to_its_default_is_dropped():
    for default in (1, 1.0, "1"):
        assert TOOL.canonical({"place": "Rome", "adults": default}) == '{"place":"Rome"}'
    assert TOOL.canonical({"place": "Rome", "pets": False}) == '{"place":"Rome"}'


def test_true_is_not_the_default_1_and_0_is_not_the_default_false():
    assert TOOL.canonical({"adults": True}) == '{"adults":true}'
    assert TOOL.canonical({"pets": 0}) == '{"pets":0}'


def test_a_required_argument_equal_to_its_default_is_kept():
    properties = {"adults": {"type": "number", "default": 1}}
    tool = Tool("T", "", {"properties": properties, "required": ["adults"]})
    assert tool.canonical({"adults": 1}) == '{"adults":1}'


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_arguments = st.dictionaries(st.sampled_from(sorted(TOOL.properties)) | st.text(), _json)


@given(_arguments, st.randoms())
def test_the_key_does_not_depend_on_the_order_of_arguments(arguments, rng):
    shuffled = list(arguments.items())
    rng.shuffle(shuffled)
    assert TOOL.canonical(arguments) == TOOL.canonical(dict(shuffled))


@given(_arguments)
def test_coercing_first_changes_neither_the_key_nor_the_verdict(arguments):
    coerced = TOOL.coerced(arguments)
    assert TOOL.canonical(arguments) == TOOL.canonical(coerced)
    assert bool(TOOL.validate(arguments)) == bool(TOOL.validate(coerced))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({}, "missing required argument 'place' (string)"),
        ({"place": "Rome", "adults": "two"}, "argument 'adults' must be number, got \"two\""),
        ({"place": "Rome", "nights": 1.5}, "argument 'nights' must be integer, got 1.5"),
        ({"place": "Rome", "pets": "yes"}, "argument 'pets' must be boolean, got \"yes\""),
        ({"place": ["Rome"]}, "argument 'place' must be string, got [\"Rome\"]"),
        ({"place": True}, "argument 'place' must be string, got true"),
        ({"place": "Rome", "price": float("nan")}, "argument 'price' must be number, got NaN"),
        (
            {"place": "Rome", "sort": "size"},
            "argument 'sort' must be one of ['price', 'stars'], got \"size\"",
        ),
        ({"place": "Rome", "ages": [1, "x"]}, "argument 'ages[1]' must be number, got \"x\""),
        ({"place": "Rome", "where": {}}, "missing where.lat"),
        (
            {"place": "Rome", "where": {"lat": []}},
            "argument 'where.lat' must be number, got []",
        ),
    ],
)
def test_a_fault_names_what_was_got_and_what_is_allowed(arguments, fault):
    assert TOOL.validate(arguments) == [fault]


def test_an_unknown_argument_is_answered_with_the_known_ones():
    (fault,) = TOOL.validate({"place": "Rome", "city": 1})
    assert fault == f"unknown argument 'city'; allowed: {', '.join(TOOL.properties)}"


def test_every_fault_is_named():
    assert len(TOOL.validate({"adults": "x", "city": 1, "pets": 3})) == 4


@pytest.mark.parametrize("level", [1, 1.0, "1", "1.0"])
def test_an_allowed_number_is_allowed_as_text_too(level):
    assert TOOL.validate({"place": "Rome", "level": level}) == []
    assert TOOL.validate({"place": "Rome", "level": 3}) != []


def test_an_integer_beyond_floats_is_a_fault():
    (fault,) = TOOL.validate({"place": "Rome", "price": 10**400})
    assert fault.startswith("argument 'price' must be number, got 1000")
    assert len(fault) < 200


def test_faults_stay_small():
    faults = TOOL.validate({"place": ["x" * 10_000], "y" * 10_000: 1})
    assert len(faults) == 2
    assert all(len(fault) < 300 for fault in faults)
    assert shown("x" * 10_000).endswith("… (10002 characters)")


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_the_text_of_a_number_reads_back_as_it(value):
    assert float(number_text(value)) == float(value)
    assert number_text(float(value)) == number_text(value) or abs(value) >= 2**53


def test_4_and_4_0_have_one_text():
    assert number_text(4) == number_text(4.0) == "4"


@given(st.text())
def test_a_safe_name_has_only_characters_that_can_be_offered(name):
    assert set(safe_name(name)) <= set(string.ascii_letters + string.digits + "_-")


def test_the_booking_names_become_safe():
    assert safe_name("Get_Hotel_Reviews(Tips)") == "Get_Hotel_Reviews_Tips"
    assert safe_name("Search_Flights") == "Search_Flights"


def test_a_key_is_json():
    assert json.loads(TOOL.canonical({"place": 'é "x"', "ages": ["3"]})) == {
        "place": 'é "x"',
        "ages": [3],
    }


UNIONS = Tool(
    "Unions",
    "",
    {
        "type": "object",
        "properties": {
            "id": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "size": {"type": ["number", "null"], "minimum": 1, "maximum": 9},
            "unit": {"const": "km"},
            "place": {"$ref": "#/$defs/Place"},
            "any": True,
            "tree": {"$ref": "#/$defs/Tree"},
        },
        "required": ["place", "absent"],
        "$defs": {
            "Place": {
                "type": "object",
                "properties": {"lat": {"type": "number"}},
                "required": ["lat"],
            },
            "Tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}},
        },
    },
)


def test_unions_references_and_null_are_read_as_json_schema_says():
    place = {"lat": "4.0"}
    assert UNIONS.canonical({"place": place, "id": None}) == '{"place":{"lat":4}}'
    assert UNIONS.canonical({"place": place, "id": "7"}) == '{"id":7,"place":{"lat":4}}'
    assert UNIONS.canonical({"size": None}) == '{"size":null}'
    assert UNIONS.validate({"place": place, "absent": 1, "any": [{}], "id": None, "size": 9}) == [
        "unknown argument 'absent'; allowed: id, size, unit, place, any, tree"
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"id": "x"}, "argument 'id' must be integer or null, got \"x\""),
        ({"size": 0}, "argument 'size' must be number or null, got 0"),
        ({"unit": "mi"}, "argument 'unit' must be one of ['km'], got \"mi\""),
        ({"place": {}}, "missing place.lat"),
        ({"tree": {"child": {"child": 1}}}, "argument 'tree.child.child' must be object, got 1"),
        ({}, "missing required argument 'absent' (any)"),
    ],
)
def test_faults_of_unions_references_and_constants(arguments, fault):
    assert fault in UNIONS.validate(arguments)


def test_a_number_out_of_range_names_the_bound():
    tool = Tool("T", "", {"properties": {"n": {"type": "integer", "minimum": 1, "maximum": 3}}})
    assert tool.validate({"n": 0}) == ["argument 'n' must be at least 1, got 0"]
    assert tool.validate({"n": "4"}) == ["argument 'n' must be at most 3, got \"4\""]


def test_more_arguments_are_taken_only_where_the_schema_says_so():
    properties = {"n": {"type": "integer"}}
    tool = Tool("T", "", {"properties": properties, "additionalProperties": True})
    assert tool.validate({"n": 1, "m": 2}) == []


def test_a_long_enumeration_is_listed_in_part():
    tool = Tool("T", "", {"properties": {"n": {"type": "integer", "enum": list(range(999))}}})
    (fault,) = tool.validate({"n": -1})
    assert "959 more" in fault
    assert len(fault) < 300


@given(st.dictionaries(st.sampled_from([*TOOL.properties, "x"]), _json, max_size=4))
def test_a_key_read_as_arguments_is_its_own_key(arguments):
    key = TOOL.canonical(arguments)
    assert TOOL.canonical(json.loads(key)) == key


STAY = Tool(
    "Stay",
    "",
    {
        "properties": {
            "guest": {
                "type": "object",
                "properties": {"name": {"type": "string"}},
                "additionalProperties": False,
            },
            "room": {"type": "object", "required": ["floor"]},
            "paid": {
                "type": "object",
                "properties": {"by": {"type": "string"}, "card": {"type": "integer"}},
                "additionalProperties": False,
                "anyOf": [{"properties": {"by": {"const": "card"}}, "required": ["card"]}, {}],
            },
            "notes": {
                "type": "object",
                "patternProperties": {"^x-": {}},
                "additionalProperties": False,
            },
        }
    },
)


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ({"guest": {"name": "Ann"}, "room": {"floor": 1, "view": "sea"}}, []),
        ({"guest": {"age": 3}}, ["unknown guest.age; allowed: name"]),
        ({"room": {"view": "sea"}}, ["missing room.floor"]),
        ({"paid": {"by": "card", "card": 7}}, []),
        ({"notes": {"x-a": 1}}, []),
    ],
)
def test_fields_are_closed_and_required_as_the_schema_says(arguments, faults):
    assert STAY.validate(arguments) == faults


@pytest.mark.parametrize(("more", "taken"), [({}, True), (True, True), (False, False)])
def test_arguments_beside_the_properties_are_taken_where_any_schema_is_given(more, taken):
    tool = Tool("T", "", {"properties": {}, "additionalProperties": more})
    assert (tool.validate({"m": 2}) == []) == taken
