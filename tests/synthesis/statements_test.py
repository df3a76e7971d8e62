"""What the grammar writes, the checker finds again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.synthesis.frames import PHRASES
from tooltrain.synthesis.statements import forms, is_name, states


@pytest.mark.parametrize(
    ("value", "ways"),
    [
        ("2024-11-05", ["2024-11-05", "November 5, 2024", "5 November 2024"]),
        ("2024-13-05", ["2024-13-05"]),
        ("09:00", ["09:00", "9 AM"]),
        ("00:00", ["00:00", "12 AM"]),
        ("12:00", ["12:00", "12 PM"]),
        ("13:30", ["13:30"]),
        (4.0, ["4"]),
        ("3,5,7", ["3, 5 and 7", "3,5,7"]),
        ("BEST", ["best"]),
        ("New York", ["New York"]),
        (True, []),
        (None, []),
        ([1], []),
        ("  ", []),
    ],
)
def test_ways_to_state_a_value(value, ways):
    assert forms(value) == ways


_values = (
    st.integers(-999, 9999)
    | st.dates().map(str)
    | st.times().map(lambda t: f"{t:%H:%M}")
    | st.sampled_from(sorted(PHRASES))
    | st.text(min_size=1, max_size=20)
    | st.lists(st.integers(0, 17).map(str), min_size=2, max_size=4).map(",".join)
)


@given(_values)
def test_every_form_is_found_again(value):
    for form in forms(value):
        assert states(f'I want "{form}", please.', value)


@pytest.mark.parametrize(
    ("query", "value"), [("12 rooms", 2), ("in 2024", 20), ("Romeo", "Rome"), ("New-York", "York")]
)
def test_a_part_of_a_word_does_not_state_a_value(query, value):
    assert not states(query, value)


def test_names_are_what_needs_quotes():
    named = {v: is_name(v) for v in ("Rome", "2024-11-05", "09:00", "13:30", "BEST", "3,5")}
    assert [v for v, name in named.items() if name] == ["Rome"]
    assert not is_name(4)
