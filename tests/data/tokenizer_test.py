"""Byte level: any text comes back, and a value has the same ids wherever it stands."""

from __future__ import annotations

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models

from tooltrain.data.tokenizer import SPECIAL, Control, Tokenizer, train_tokenizer
from tooltrain.errors import UserError

TEXTS = ['{"query": "New York", "adults": 12}', 'Hotels in "New York", 2 adults.', "[]"] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 330)


@given(st.text() | st.lists(st.sampled_from([*SPECIAL, "<|im_", "end|>", "a", " "])).map("".join))
def test_any_text_comes_back(tokenizer, text):
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


def test_control_tokens_are_one_id_each(tokenizer):
    ids = tokenizer.encode_parts(map(Control, SPECIAL))
    assert len(ids) == len(SPECIAL) == len(set(ids))
    assert tokenizer.decode(ids) == "".join(SPECIAL)
    assert tokenizer.pad_id == ids[0]
    assert tokenizer.eos_id == ids[2]


_spelled = st.lists(st.sampled_from([*SPECIAL, "<|im_end|", ">", "<", " ", "x", "\n"])).map("".join)


@given(_spelled)
def test_text_that_spells_control_tokens_gets_no_control_id(tokenizer, text):
    control = set(tokenizer.control_ids.values())
    assert control.isdisjoint(tokenizer.encode(text))
    assert control.isdisjoint(tokenizer.encode_parts([text, "", text]))


def test_parts_that_touch_have_the_ids_of_their_joined_text(tokenizer):
    parts = ["New Yo", "rk", Control("<tools>"), "no ", "ends", Control("<unknown>"), " at"]
    want = [*tokenizer.encode("New York"), tokenizer.control_ids["<tools>"]]
    assert tokenizer.encode_parts(parts) == want + tokenizer.encode("no ends<unknown> at")


def test_a_model_that_could_merge_into_a_control_id_is_refused():
    alphabet = {token: i for i, token in enumerate(["<", "a", ">", "<a", "<a>"])}
    model = tokenizers.Tokenizer(models.BPE(alphabet, [("<", "a"), ("<a", ">")]))
    model.add_special_tokens(["<a>"])
    with pytest.raises(UserError, match="ordinary text '<a>'"):
        Tokenizer(model, end="<a>", pad="<a>")


def test_bytes_that_are_no_utf_8_become_replacement_characters(tokenizer):
    ids = tokenizer.encode("é")
    assert len(ids) == 2
    assert tokenizer.decode(ids[:1]) == "\ufffd"


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
    assert [*map(loaded.encode, TEXTS)] == [*map(tokenizer.encode, TEXTS)]


def test_no_tokenizer_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer at .*synthesize` trains one"):
        Tokenizer.load(tmp_path / "none.json")


def test_a_vocabulary_below_the_bytes_is_one_clear_error():
    with pytest.raises(UserError, match=r"a vocabulary of 264 ids .* are 265"):
        train_tokenizer(TEXTS, 264)
    assert train_tokenizer([], 265).vocab_size == 265
