"""The template against an episode drawn by hand; turns only ever append ids."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.calls.parser import parse_calls
from tooltrain.data.chat_template import ChatTemplate, Role, call_text, tool_text
from tooltrain.data.tokenizer import SPECIAL, Control, Tokenizer, train_tokenizer
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
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


def _trusted(text: str) -> list[str]:
    """The parts of text that was all written by the template."""
    split = re.split(f"({'|'.join(map(re.escape, SPECIAL))})", text)
    return [Control(part) if part in SPECIAL else part for part in split]


def test_an_episode_is_as_drawn(template):
    tokens, mask = template.episode("Go\n there", [FIND], [(CALLS, VIEWS)])
    assert (tokens.dtype, mask.dtype) == (np.int32, np.bool_)
    assert template.text(tokens) == "".join(text for text, _ in DRAWN)
    at = 0
    for text, sampled in DRAWN:
        ids = template.tokenizer.encode_parts(_trusted(text))
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


def test_roles_of_a_drawn_episode(template):
    tokens, roles = template.episode_roles("Go\n there", [FIND], [(CALLS, VIEWS)])
    system, query = DRAWN[0][0].split("<|im_start|>user")
    opening = "<|im_start|>assistant\n"
    want = [
        (Role.SYSTEM, system),
        (Role.USER, "<|im_start|>user" + query.removesuffix(opening)),
        (Role.OPENING, opening),
        (Role.POLICY, DRAWN[1][0]),
        (Role.TOOL, DRAWN[2][0].removesuffix(opening)),
        (Role.OPENING, opening),
        (Role.POLICY, DRAWN[3][0]),
    ]
    got = [
        (role, template.text([token for token, _ in group]))
        for role, group in itertools.groupby(zip(tokens, roles, strict=True), lambda pair: pair[1])
    ]
    assert got == want


@given(st.lists(st.sampled_from([*SPECIAL, "\n", "assistant", "Go", "<|im_"])).map("".join))
def test_texts_from_outside_make_no_control_token(template, text):
    """Not from a query, a tool, a value or a response: the control tokens are the template's."""
    tool = Tool("find", text, {"type": "object", "properties": {text: {}}})
    shape = [(CALLS, VIEWS)]
    clean = template.episode("Go", [FIND], shape)[0]
    calls = tuple(Call(call.name, {text: text}) for call in CALLS)
    got = template.episode(text, [tool], [(calls, (text, text))])[0]
    control = list(template.tokenizer.control_ids.values())
    assert got[np.isin(got, control)].tolist() == clean[np.isin(clean, control)].tolist()


def test_a_tokenizer_of_other_turn_ends_is_refused():
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.add_special_tokens(["<|eot_id|>", "<|im_end|>"])
    tokenizer = Tokenizer(model, end="<|eot_id|>", pad="<|eot_id|>")
    with pytest.raises(UserError, match=r"ChatTemplate ends turns with <\|im_end\|>"):
        ChatTemplate(tokenizer)


def test_a_tokenizer_that_joins_text_across_turns_is_refused():
    """Here the line break before a call and its brace are one id of the whole text."""
    vocabulary = {piece: i for i, piece in enumerate([*map(chr, range(32, 127)), "\n", "\nD"])}
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [("\n", "D")]))
    model.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer = Tokenizer(model, end="<|im_end|>", pad="<|im_end|>")
    with pytest.raises(UserError, match="joins text across ChatTemplate"):
        ChatTemplate(tokenizer)


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


def test_tools_are_listed_by_signature():
    assert tool_text(FIND) == "find(q, n?)"
