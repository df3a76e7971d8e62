"""The template against an episode drawn by hand; turns only ever append ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.calls.parser import parse_calls
from tooltrain.data.chat_template import ChatTemplate, call_text, tool_text
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.schema import Tool
from tooltrain.types import Call

FIND = Tool(
    "find",
    "Finds é.",
    {"type": "object", "properties": {"q": {"type": "string"}, "n": {}}, "required": ["q"]},
)
CALLS = (Call("find", {"q": "Rome"}), Call("find", {"q": "Oslo", "n": 2}))
VIEWS = ('{"id": 1}', '{"id": 2}')
DRAWN = [  # (text, written by the policy)
    (
        "<|im_start|>system\n<tools>\nfind(q, n?)\n</tools><|im_end|>\n"
        "<|im_start|>user\nGo\n there<|im_end|>\n<|im_start|>assistant\n",
        False,
    ),
    (
        '<tool_call>\n{"name": "find", "arguments": {"q": "Rome"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "find", "arguments": {"q": "Oslo", "n": 2}}\n</tool_call><|im_end|>',
        True,
    ),
    (
        '\n<|im_start|>user\n<tool_response>\n{"id": 1}\n</tool_response>\n'
        '<tool_response>\n{"id": 2}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        False,
    ),
    ("Done.<|im_end|>", True),
]


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate(train_tokenizer([text for text, _ in DRAWN] * 2, 320))


def test_an_episode_is_as_drawn(template):
    tokens, mask = template.episode("Go\n there", [FIND], [(CALLS, VIEWS)])
    assert (tokens.dtype, mask.dtype) == (np.int32, np.bool_)
    assert template.text(tokens) == "".join(text for text, _ in DRAWN)
    at = 0
    for text, sampled in DRAWN:
        ids = template.tokenizer.encode(text)
        assert list(tokens[at : at + len(ids)]) == ids
        assert (mask[at : at + len(ids)] == sampled).all()
        at += len(ids)
    assert at == len(tokens) == len(mask)


def test_each_turn_extends_the_ids_before_it(template):
    script = [(CALLS[:1], VIEWS[:1]), (CALLS[1:], VIEWS[1:])]
    closing = len(template.completion(()))
    whole = template.episode("Go", [FIND], script)[0]
    for turns in range(len(script) + 1):
        part = template.episode("Go", [FIND], script[:turns])[0][:-closing]
        assert (whole[: len(part)] == part).all()


def test_the_sampled_end_token_is_the_policy_s(template):
    tokens, mask = template.episode("Go", [FIND], [(CALLS, VIEWS)])
    written = tokens[mask]
    assert written[-1] == template.eos_id
    assert (written == template.eos_id).sum() == 2
    assert not mask[: len(template.prompt("Go", [FIND]))].any()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=4,
)
_calls = st.builds(
    Call,
    st.from_regex(r"[A-Za-z_]{1,9}", fullmatch=True),
    st.dictionaries(st.text("xyz", min_size=1), _json, max_size=3),
)


@given(st.lists(_calls, min_size=1, max_size=3))
def test_what_the_template_writes_the_parser_reads(calls):
    text = "\n".join(call_text(call) for call in calls)
    if all(tag not in repr(calls) for tag in ("<tool_call>", "</tool_call>")):
        assert parse_calls(text) == calls


def test_tools_are_listed_by_signature_or_in_full():
    assert tool_text(FIND) == "find(q, n?)"
    full = tool_text(FIND, full_schemas=True)
    assert full.startswith('{"type": "function", "function": {"name": "find", ')
    assert "Finds é." in full
