"""The Jinja that is exported beside the Python that trained the policy: the same bytes."""

from __future__ import annotations

import json

import jinja2.sandbox
import pytest

from tooltrain.data.chat_template import CLOSING, ChatTemplate, tool_schema
from tooltrain.data.chat_template_jinja import chat_jinja
from tooltrain.data.chat_template_models import Qwen3Template
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Call

TOKENIZER = train_tokenizer([], 265)
TOOLS = (
    Tool(
        "find",
        "Finds “é” <b>.",
        {
            "type": "object",
            "properties": {"q": {"type": "string"}, "near": {"type": "string"}},
            "required": ["q"],
        },
    ),
    Tool("book", "", {"type": "object", "properties": {"n": {"type": "integer"}}}),
)
FIND, BOOK = Call("find", {"q": 'Rome "é" <b>'}), Call("book", {"n": 2, "deep": {"a": [1, None]}})
SCRIPTS = {
    "no turn": (),
    "one call": (((FIND,), ('{"id": 1}',)),),
    "parallel, then one": (((FIND, BOOK), ('{"id": "é"}', "[]")), ((BOOK,), ('{"ok": true}',))),
}


def render(source: str, **context) -> str:
    """As transformers does it."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda x: json.dumps(x, ensure_ascii=False)

    def fail(message):
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = fail
    return environment.from_string(source).render(**context)


def messages_of(query, script):
    messages = [{"role": "user", "content": query}]
    for calls, texts in script:
        functions = [{"name": c.name, "arguments": c.arguments} for c in calls]
        called = [{"type": "function", "function": f} for f in functions]
        messages.append({"role": "assistant", "content": "", "tool_calls": called})
        messages += [{"role": "tool", "content": text} for text in texts]
    return messages


def text_of(messages):
    return "".join(part for message in messages for part in message.parts)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("tools", [TOOLS, ()], ids=["tools", "no tools"])
def test_a_conversation_is_the_same_text(script, tools):
    template = ChatTemplate(TOKENIZER)
    source = chat_jinja(template)
    schemas = [tool_schema(tool) for tool in tools] or None
    messages = messages_of("Where is\n“it”?", script)

    text = render(source, messages=messages, tools=schemas, add_generation_prompt=True)
    want = text_of(template.prompt_messages("Where is\n“it”?", tools))
    for calls, texts in script:
        want += template.completion_text(calls) + "<|im_end|>"
        want += text_of(template.observation_messages(texts))
    assert text == want

    messages.append({"role": "assistant", "content": CLOSING})
    whole = render(source, messages=messages, tools=schemas, add_generation_prompt=False)
    episode = template.episode("Where is\n“it”?", tools, script)
    assert whole == template.text(episode[0])


def test_arguments_may_be_json_text():
    call = {"function": {"name": "find", "arguments": '{"q": "Rome"}'}}
    messages = [{"role": "assistant", "tool_calls": [call]}]
    assert '{"name": "find", "arguments": {"q": "Rome"}}' in render(
        chat_jinja(ChatTemplate(TOKENIZER)), messages=messages
    )


def test_a_role_that_the_policy_never_saw_is_refused():
    source = chat_jinja(ChatTemplate(TOKENIZER))
    with pytest.raises(jinja2.TemplateError, match="got system"):
        render(source, messages=[{"role": "system", "content": "Be brief."}])


def test_the_templates_of_published_families_are_their_own():
    with pytest.raises(UserError, match="Qwen3Template is another model's"):
        chat_jinja(Qwen3Template(TOKENIZER))
