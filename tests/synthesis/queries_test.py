"""Queries state what is free, name what is bound, and never a tool or an id."""

from __future__ import annotations

import random

import pytest

from tooltrain.synthesis.queries import NoFrame, write_query
from tooltrain.synthesis.statements import states
from tooltrain.types import Binding, GoldCall

ID = "eyJ1ZmkiOi0xNTg2ODQ0fQ=="


def _chain(selector: str) -> list[GoldCall]:
    return [
        GoldCall("Search_Attraction_Location", {"query": "Ottawa"}),
        GoldCall(
            "Search_Attractions",
            {"id": ID, "sortBy": "trending"},
            (0,),
            (Binding("id", 0, ("destinations", 0, "id"), selector),),
        ),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_is_asked_for_by_what_the_user_knows(seed):
    query = write_query(_chain("first"), random.Random(seed))
    assert states(query, "Ottawa")
    assert states(query, "trending")
    assert ID not in query
    assert "Search" not in query
    assert "{" not in query


def test_a_selector_is_put_in_words():
    query = write_query(_chain("where(cityName=Ottawa Valley)"), random.Random(0))
    assert '"Ottawa" ("Ottawa Valley")' in query


def test_the_same_seed_writes_the_same_query_and_others_vary():
    wordings = [write_query(_chain("first"), random.Random(seed)) for seed in range(30)]
    assert wordings == [write_query(_chain("first"), random.Random(seed)) for seed in range(30)]
    assert len(set(wordings)) > 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (GoldCall("Unheard_Of", {}), "no frame for Unheard_Of"),
        (GoldCall("Search_Attractions", {"id": "x", "page": 2}), r"no words for .*\.page"),
        (GoldCall("Search_Attractions", {}), "Search_Attractions needs id"),
        (GoldCall("Search_Attractions", {"id": ["x"]}), "no words for the value"),
    ],
)
def test_what_has_no_words_is_refused_with_the_reason(call, message):
    with pytest.raises(NoFrame, match=message):
        write_query([call], random.Random(0))
