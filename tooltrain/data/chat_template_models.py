"""Chat templates of published models, as those models were trained to read tools.

The strings are wire formats: they must be the models' own to the byte, and the tests render
the models' Jinja templates beside them. Where a model's template is not prefix-preserving, what
is kept here is said in the class.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from tooltrain.calls.llama import parse_llama_calls
from tooltrain.data.chat_template import CLOSING, ChatTemplate, Message, Role, chatml, join
from tooltrain.data.chat_template import tool_schema as schema_of
from tooltrain.data.tokenizer import START, Control, Tokenizer
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Call, MalformedCall


class Qwen3Template(ChatTemplate):
    """Qwen3 (and Qwen2.5): Hermes tags, whole schemas, its own words around them.

    thinking: False opens every assistant turn with an empty thought, as the model's template
    does with enable_thinking=False. The model's template drops those of earlier turns and adds
    one to a closing turn when it renders the conversation anew; here ids are only appended, so
    each turn keeps what it was sampled after. All else is equal (tested).

    Source: `chat_template` of Qwen/Qwen3-0.6B's tokenizer_config.json.
    """

    def __init__(self, tokenizer: Tokenizer, *, thinking: bool = True):
        self.thinking = thinking
        super().__init__(tokenizer)

    def prompt_messages(self, query: str, tools: Sequence[Tool]) -> list[Message]:
        asked = [Message(Role.USER, chatml("user", query)), self.opening()]
        if not tools:
            return asked
        listed = "".join(f"\n{json.dumps(schema_of(t), ensure_ascii=False)}" for t in tools)
        system = chatml(
            "system",
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            "You are provided with function signatures within ",
            *_tags("tools"),
            " XML tags:\n",
            Control("<tools>"),
            f"{listed}\n",
            Control("</tools>"),
            "\n\nFor each function call, return a json object with function name and arguments "
            "within ",
            *_tags("tool_call"),
            " XML tags:\n",
            Control("<tool_call>"),
            '\n{"name": <function-name>, "arguments": <args-json-object>}\n',
            Control("</tool_call>"),
        )
        return [Message(Role.SYSTEM, system), *asked]

    def opening(self) -> Message:
        thought = () if self.thinking else (Control("<think>"), "\n\n", Control("</think>"), "\n\n")
        return Message(Role.OPENING, (Control(START), "assistant\n", *thought))


class Llama3Template(ChatTemplate):
    """Llama 3.1, 3.2 and 3.3: JSON calls, tools in the user's message.

    Calls of one turn are joined by "; " (the model's template refuses more than one, its
    training data has them so: parse_llama_calls reads both). A response goes in as it is, which
    is what the template writes for a JSON object. The date is the template's own default:
    a prompt must not depend on the day.

    Source: `chat_template` of meta-llama/Llama-3.1-8B-Instruct's tokenizer_config.json.
    """

    end = "<|eot_id|>"

    def prompt_messages(self, query: str, tools: Sequence[Tool]) -> list[Message]:
        system = "Environment: ipython\n" if tools else ""
        system += "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        asked = query.strip()
        if tools:
            listed = "".join(
                f"{json.dumps(schema_of(t), ensure_ascii=False, indent=4)}\n\n" for t in tools
            )
            asked = (
                "Given the following functions, please respond with a JSON for a function call "
                "with its proper arguments that best answers the given prompt.\n\n"
                'Respond in the format {"name": function name, "parameters": dictionary of '
                "argument name and its value}.Do not use variables.\n\n"
                f"{listed}{asked}"
            )
        return [
            Message(Role.SYSTEM, (Control("<|begin_of_text|>"), *self._message("system", system))),
            Message(Role.USER, self._message("user", asked)),
            self.opening(),
        ]

    def opening(self) -> Message:
        return Message(Role.OPENING, _llama_header("assistant"))

    def completion_parts(self, calls: Sequence[Call]) -> tuple[str, ...]:
        bodies = [{"name": call.name, "parameters": call.arguments} for call in calls]
        return ("; ".join(json.dumps(body, ensure_ascii=False) for body in bodies) or CLOSING,)

    def observation_messages(self, texts: Sequence[str]) -> list[Message]:
        shown = [self._message("ipython", text) for text in texts]
        return [Message(Role.TOOL, join("", shown)), self.opening()]

    def calls(self, text: str) -> list[Call | MalformedCall]:
        return parse_llama_calls(text)

    def _message(self, role: str, content: str) -> tuple[str, ...]:
        return (*_llama_header(role), content, Control(self.end))


def chat_template(tokenizer: Tokenizer) -> ChatTemplate:
    """The template of the model family that `tokenizer` belongs to, told by its control tokens.

    `<|eot_id|>`: Llama 3. ChatML with `<tool_call>` and without `<tools>`: Qwen. Other ChatML:
    tooltrain's own, as for SmolLM2. Raises UserError for a tokenizer of none of them.
    """
    control = tokenizer.control_ids
    if Llama3Template.end in control:
        return Llama3Template(tokenizer)
    if ChatTemplate.end not in control:
        raise UserError(
            f"no chat template for a tokenizer with the control tokens {list(control)[:20]}; there "
            "are templates for ChatML (SmolLM2, Qwen3) and Llama 3: add one to "
            "tooltrain/data/chat_template_models.py (docs/models.md says how)"
        )
    if "<tool_call>" in control and "<tools>" not in control:
        return Qwen3Template(tokenizer)
    return ChatTemplate(tokenizer)


def _tags(name: str) -> tuple[str, str]:
    return Control(f"<{name}>"), Control(f"</{name}>")


def _llama_header(role: str) -> tuple[str, ...]:
    return (Control("<|start_header_id|>"), role, Control("<|end_header_id|>"), "\n\n")
