"""Byte level: any text comes back, and a value has the same ids wherever it stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tooltrain.data.tokenizer import SPECIAL, Tokenizer, train_tokenizer
from tooltrain.errors import UserError

TEXTS = ['{"query": "New York", "adults": 12}', 'Hotels in "New York", 2 adults.', "[]"] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 330)


@given(st.text())
def test_any_text_comes_back(tokenizer, text):
    assume(not any(token in text for token in SPECIAL))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\n\t",
        "\x00\x7f",
        "été — 東京 🏨‍♀️",
        "a\u0301",
        "\ufffd",
        "﷽" * 50,
        '}, {"":',
        "_" * 9,
    ],
)
def test_odd_texts_come_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_one_id_each(tokenizer):
    ids = tokenizer.encode("".join(SPECIAL))
    assert len(ids) == len(SPECIAL) == len(set(ids))
    assert tokenizer.decode(ids) == "".join(SPECIAL)
    assert tokenizer.pad_id == ids[0]
    assert tokenizer.eos_id == ids[2]


def test_bytes_that_are_no_utf_8_become_replacement_characters(tokenizer):
    half = tokenizer.encode("é")[:1]
    assert tokenizer.decode(half) in ("\ufffd", "é")


_words = st.from_regex(r"[A-Za-z]{2,8}( [A-Z][a-z]{1,6})?", fullmatch=True)
_ids = st.from_regex(r"[A-Za-z0-9]{2,12}([-.][A-Za-z0-9]{1,5})?", fullmatch=True)


@given(_words | _ids | st.floats(-180, 180).map(lambda x: f"{x:.5f}"))
def test_a_value_has_the_same_ids_in_query_response_and_call(tokenizer, value):
    """In each place its ids stand alone between those of what surrounds it."""
    own = tokenizer.encode(value)
    for text in (
        f'Please look up "{value}".',
        f'the hotel area "{value}" ("x")',
        json.dumps({"id": value}),
        json.dumps([{"a": 1, "id": value, "b": "x"}]),
        json.dumps({"arguments": {"id": value}}),
    ):
        ids = tokenizer.encode(text)
        places = [i for i in range(len(ids)) if ids[i : i + len(own)] == own]
        assert places, (text, own, ids)


def test_digits_stand_alone(tokenizer):
    assert len(tokenizer.encode("2024121212")) == 10


def test_the_same_texts_give_the_same_tokenizer(tokenizer, tmp_path):
    train_tokenizer(TEXTS, 330).save(tmp_path / "a.json")
    tokenizer.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert tokenizer.vocab_size <= 330
    loaded = Tokenizer.load(tmp_path / "a.json")
    assert loaded.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]


def test_no_tokenizer_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer at .*synthesize` trains one"):
        Tokenizer.load(tmp_path / "none.json")


def test_a_vocabulary_below_the_bytes_is_one_clear_error():
    with pytest.raises(UserError, match=r"a vocabulary of 264 ids .* are 265"):
        train_tokenizer(TEXTS, 264)
    assert train_tokenizer([], 265).vocab_size == 265
