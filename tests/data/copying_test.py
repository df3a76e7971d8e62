"""The copy task: what a call takes stands in the query or in the response before it."""

from __future__ import annotations

import json
import random

import pytest

from tooltrain.calls.parser import parse_calls
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.copying import copy_episode
from tooltrain.data.tokenizer import train_tokenizer

PIECES = ["a", "er", "lon", "mi"]


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate(train_tokenizer([], 265))


@pytest.mark.parametrize("seed", range(40))
def test_every_value_can_be_copied(template, seed):
    tokens, mask = copy_episode(template, PIECES, random.Random(seed))
    text = template.text(tokens)
    calls = parse_calls(text)
    assert 1 <= len(calls) <= 2
    for call in calls:
        before = text[: text.index(f'{{"name": "{call.name}"')]
        assert f"{call.name}({', '.join(call.arguments)})" in before
        for value in call.arguments.values():
            assert f'"{value}"' in before or json.dumps(value) in before
    assert template.text(tokens[mask]).endswith("Done.<|im_end|>")


def test_the_same_seed_gives_the_same_episode_and_one_turn_can_be_asked_for(template):
    one, two = (copy_episode(template, PIECES, random.Random(7))[0] for _ in range(2))
    assert (one == two).all()
    for seed in range(20):
        tokens, _ = copy_episode(template, PIECES, random.Random(seed), max_turns=1)
        assert len(parse_calls(template.text(tokens))) == 1
