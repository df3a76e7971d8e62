"""A query states a value in any unambiguous form, and nothing that it does not say."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.synthesis.readings import HOW, Reading, fold
from tooltrain.synthesis.statements import forms

TODAY = "Today is Friday, November 1st, 2024. "


@pytest.mark.parametrize(
    ("query", "value", "how"),
    [
        ("on 2024-11-05", "2024-11-05", "literal"),
        ("on November 5, 2024", "2024-11-05", "date"),
        ("on the 5th of November 2024", "2024-11-05", "date"),
        ("on 5 Nov. 2024", "2024-11-05", "date"),
        ("on 2024/11/5", "2024-11-05", "date"),
        ("on 13.11.2024", "2024-11-13", "date"),
        ("on 11/13/2024", "2024-11-13", "date"),
        ("November 15th to 20th, 2024", "2024-11-20", "date"),
        ("15-20 November 2024", "2024-11-15", "date"),
        ("from November 28 to December 2, 2024", "2024-11-28", "date"),
        ("from December 28, 2024 to January 3", "2025-01-03", "date"),
        (TODAY + "leaving tomorrow", "2024-11-02", "relative date"),
        (TODAY + "the day after tomorrow", "2024-11-03", "relative date"),
        (TODAY + "in two weeks", "2024-11-15", "relative date"),
        (TODAY + "10 days from now", "2024-11-11", "relative date"),
        (TODAY + "this coming Friday", "2024-11-08", "relative date"),
        ("from 5 May 2024 for three nights", "2024-05-08", "relative date"),
        ("on 30 April 2024 and the next day", "2024-05-01", "relative date"),
        ("at 9 AM", "09:00", "time"),
        ("at 1:30 p.m.", "13:30", "time"),
        ("at noon", "12:00", "time"),
        ("at 18:05", "18:05", "literal"),
        ("two adults", 2, "number"),
        ("2 adults", 2.0, "literal"),
        ("twenty-five people", "25", "number"),
        ("1,200 euros", 1200, "number"),
        ("122.3° W", -122.3, "number"),
        ("at -122.303 degrees", "-122.303", "literal"),
        ("children of 4 and 9", "4,9", "number"),
        ("the best rated ones", "attr_book_score", "wording"),
        ("for the country IN", "IN", "literal"),
        ("largest first in Europe", "EU", "wording"),
        ("in premium economy", "PREMIUM_ECONOMY", "wording"),
        ("from airport LHR", "LHR.AIRPORT", "wording"),
        ("a flight to Sao Paulo", "São Paulo", "name"),
        ("with the O R Tambo", "O. R. Tambo", "name"),
        ("sorted by guest rating", "guestRating", "name"),
        ("on 5 November 2024 at 10 AM", "2024-11-05T10:00", "date"),
    ],
)
def test_what_is_stated_is_found_with_the_normalisation_it_takes(query, value, how):
    assert how in HOW
    assert Reading(query).how(value) == how


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("on November 2, 2024 at 3 PM", 2),  # the day of a date is no number
        ("on November 2, 2024 at 3 PM", 3),
        ("on 03/04/2024", "2024-03-04"),  # which is the month?
        ("tomorrow", "2024-11-02"),  # no today
        (TODAY + "next Friday", "2024-11-08"),  # this week's or the next?
        ("may 2 adults come in 2024", "2024-05-02"),
        ("on February 30, 2024", "2024-02-30"),
        ("the 12 rooms", 2),
        ("Romeo", "Rome"),
        ("Newyork", "York"),
        ("a hotel in Rome", "IN"),  # a code is not the word
        ("anything", None),
        ("anything", " "),
        ("at 25 PM", "25:00"),
        ("at 01:30 PM", "01:30"),
        ("a list", ["a list"]),
    ],
)
def test_what_is_not_said_is_not_stated(query, value):
    assert Reading(query).how(value) is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("with free cancellation", True),
        ("without free cancellation", False),
        ("no free cancellation please", False),
        ("with a free late cancellation", True),
        ("a cheap hotel", None),
    ],
)
def test_a_boolean_is_stated_by_the_words_of_its_name(query, said):
    reading = Reading(query)
    for value in (True, False):
        stated = reading.how(value, "include_free_cancellation")
        assert stated == ("boolean" if said is value else None)


@given(st.dates(datetime.date(1990, 1, 1), datetime.date(2090, 1, 1)), st.integers(0, 2))
def test_every_written_form_of_a_date_is_read_as_that_date(date, form):
    written = forms(date.isoformat())[form]
    assert Reading(f"I come {written}, with two others.").dates == {date}


@given(
    st.dates(datetime.date(1990, 1, 1), datetime.date(2090, 1, 1)),
    st.dates(datetime.date(1990, 1, 1), datetime.date(2090, 1, 1)),
)
def test_a_date_never_states_another(stated, asked):
    reading = Reading(f"on {forms(stated.isoformat())[1]}")
    assert (reading.how(asked.isoformat()) is not None) == (stated == asked)


@given(st.text(max_size=60), st.text(max_size=20) | st.integers() | st.floats() | st.booleans())
def test_reading_any_text_never_raises(query, value):
    assert Reading(query).how(value, "any_thing") in (*HOW, None)


def test_folding_keeps_letters_and_digits_only():
    assert fold("  Hôtel “L'Été” / n° 5 ") == "hotel l ete n 5"
