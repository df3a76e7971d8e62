"""Varied queries state what is free, explain every choice, and never a tool or an id."""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hotels import SEARCHED
from tooltrain.data.pipeline import gold_views
from tooltrain.env.suites.atlas.suite import pairs
from tooltrain.synthesis.derive import leaks, underivable
from tooltrain.synthesis.phrasing import FIELD
from tooltrain.synthesis.phrasing_suites import SUITES
from tooltrain.synthesis.queries import NoFrame
from tooltrain.synthesis.readings import Reading
from tooltrain.synthesis.statements import is_opaque, spoken
from tooltrain.synthesis.varied import write_varied
from tooltrain.types import Binding, GoldCall

BOOKING = SUITES["booking"]
ID = "eyJ1ZmkiOi0xNTg2ODQ0fQ=="


def _hotels(selector: str) -> list[GoldCall]:
    return [
        *SEARCHED,
        *(
            GoldCall(name, {"hotel_id": "191605"}, (1,), (binding,))
            for binding in [Binding("hotel_id", 1, ("data", "hotels", 1, "hotel_id"), selector)]
            for name in ("Get_Hotel_Policies", "Get_Question_And_Answer")
        ),
    ]


@pytest.mark.parametrize("seed", range(40))
def test_a_chain_is_asked_for_by_what_the_user_knows(seed):
    query = write_varied(_hotels("first"), "booking", random.Random(seed))
    reading = Reading(query)
    for value in ("Rome", "2024-11-10", "2024-11-13", 2):
        assert reading.how(value), query
    assert "126693" not in query
    assert "191605" not in query
    assert "{" not in query
    assert "_" not in query


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("nth(2)", "second"),
        ("argmin(composite.price)", "cheapest"),
        ("argmax(reviewScore)", "rated"),
        ("where(name=Hotel Roma)", "Hotel Roma"),
    ],
)
def test_a_choice_is_said_in_words(selector, words):
    for seed in range(20):
        assert words in write_varied(_hotels(selector), "booking", random.Random(seed))


def test_every_derivable_trace_stays_so_in_varied_words(booking_generated, booking_environment):
    made = 0
    for traces in booking_generated.splits.values():
        for i, trace in enumerate(traces[:150]):
            try:
                query = write_varied(trace.calls, "booking", random.Random(i))
            except NoFrame as error:
                assert "categories_filter" in str(error) or "hotel_id" in str(error)  # noqa: PT017
                continue
            told = dataclasses.replace(trace, query=query)
            views = gold_views(trace, booking_environment)
            assert underivable(told, views, booking_environment.tools) == [], query
            assert leaks(told) == []
            made += 1
    assert made > 300


def test_the_same_seed_writes_the_same_query_and_blanks_change_nothing_else():
    for seed in range(30):
        one = write_varied(_hotels("first"), "booking", random.Random(seed))
        assert one == write_varied(_hotels("first"), "booking", random.Random(seed))
        blank = write_varied(_hotels("first"), "booking", random.Random(seed), blank=True)
        assert "Rome" not in blank
        assert "2024" not in blank
        pattern = re.escape(blank).replace("_", ".+?")  # a blank has no other underscore
        assert re.fullmatch(pattern, one), (blank, one)


def test_under_one_in_a_hundred_of_ten_thousand_queries_of_one_workflow_repeats():
    blanks = {
        write_varied(_hotels("first"), "booking", random.Random(i), blank=True)
        for i in range(10_000)
    }
    assert len(blanks) > 9_900


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (GoldCall("Unheard_Of", {}), "no phrasing for Unheard_Of"),
        (GoldCall("Search_Attractions", {"id": ID}), r"no words for Search_Attractions\.id"),
        (GoldCall("Get_Availability", {"slug": "x", "date": "2024-11-10"}), "no words for"),
        (GoldCall("Search_Flight_Location", {"query": ID}), "an opaque value"),
        (GoldCall("Search_Flight_Location", {"query": None}), "no words for the value"),
    ],
)
def test_what_has_no_words_is_refused_with_the_reason(call, message):
    with pytest.raises(NoFrame, match=message):
        write_varied([call], "booking", random.Random(0))


def test_a_suite_without_phrasings_is_refused():
    with pytest.raises(NoFrame, match="no phrasings for the suite mine"):
        write_varied(_hotels("first"), "mine", random.Random(0))


def test_every_booking_tool_of_the_release_has_a_phrasing(reference_dir):
    for line in (reference_dir / "booking_api.jsonl").read_text().splitlines():
        tool = json.loads(line)
        tool = tool.get("function", tool)
        phrasing = BOOKING.tools[tool["name"]]
        named = {name for fields in phrasing.fields for _, name in fields} | phrasing.choices.keys()
        assert named <= tool["parameters"]["properties"].keys()
        assert set(tool["parameters"]["required"]) - named <= {
            # Said by the noun that says the argument beside it.
            *("search_key", "search_type", "longitude", "pick_up_longitude", "drop_off_longitude"),
        }
    assert len(BOOKING.tools) == 40


def test_every_atlas_tool_has_a_phrasing_of_its_own_arguments():
    for tool, _ in pairs():
        phrasing = SUITES["atlas"].tools[tool.name]
        named = {name for fields in phrasing.fields for _, name in fields} | phrasing.choices.keys()
        assert named - tool.properties.keys() == set() or named - tool.properties.keys() <= {
            # list_airports and list_cities share one table of orders and flags.
            *("order", "iata_only"),
        }
        unsaid = tool.properties.keys() - named
        assert unsaid <= {"longitude", "longitude_1", "longitude_2"}, (tool.name, unsaid)
    assert SUITES["atlas"].tools.keys() == {tool.name for tool, _ in pairs()}


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_each_wording_of_a_choice_is_read_back_as_its_value(suite):
    for phrasing in SUITES[suite].tools.values():
        for name, choices in phrasing.choices.items():
            for value, wordings in choices.items():
                value = {"True": True, "False": False}.get(value, value)
                for words in wordings:
                    assert Reading(f"It is so, {words}.").how(value, name), (value, words)


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_alternatives_of_a_modifier_say_the_same_arguments(suite):
    for name, phrasing in SUITES[suite].tools.items():
        for texts in phrasing.modifiers:
            said = {frozenset(m[2] for m in FIELD.finditer(text) if m[2]) for text in texts}
            spans = {m[3] for text in texts for m in FIELD.finditer(text) if m[3]}
            assert len({fields | spans for fields in said} | said) <= 2, (name, texts)
            assert max(said, key=len) >= spans, (name, texts)


_values = (
    st.integers(-9999, 9999)
    | st.dates(datetime.date(1990, 1, 1), datetime.date(2090, 1, 1)).map(str)
    | st.times().map(lambda t: f"{t:%H:%M}")
    | st.lists(st.integers(0, 17).map(str), min_size=2, max_size=4).map(",".join)
    | st.sampled_from(["LHR.AIRPORT", "PAR.CITY", "Rome", "O'Hare", "ECONOMY", "x, y"])
)


@given(_values, st.integers(0, 99))
def test_every_spoken_form_is_read_back(value, seed):
    said = spoken(value, random.Random(seed))
    assert Reading(f"I want {said}, please.").how(value), said


@pytest.mark.parametrize(
    ("value", "opaque"),
    [
        (ID, True),
        ("prct8rembwld-admission-to-the-musee-dorsay", True),
        ("facility::17", True),
        ("-1456928", True),
        (768228091, True),
        ("Rome", False),
        ("2024-11-10", False),
        ("48.858353", False),
        (300, False),
        ("JFK.AIRPORT", False),
        ("O. R. Tambo International", False),
        ("1234 Main Street", False),
        (True, False),
    ],
)
def test_what_only_a_machine_says_is_opaque(value, opaque):
    assert is_opaque(value) == opaque
