"""The chat template: the one place where an episode becomes ids, and who wrote them.

`ChatTemplate` is tooltrain's own: ChatML turns, Hermes tags, tools by signature. It serves the
tokenizers trained here and SmolLM2, whose model card's template has no tools; what Qwen3 and
Llama 3 were trained on stands in chat_template_models.py. Prefix-preserving: what follows a
turn never changes the ids before it, so an episode is its prompt, then turns and observations
appended as ids.

    role     text                                                          who writes it
    SYSTEM   <|im_start|>system\\n<tools>\\n…\\n</tools><|im_end|>\\n          template
    USER     <|im_start|>user\\n…query…<|im_end|>\\n                         template, query
    OPENING  <|im_start|>assistant\\n                                       template
    POLICY   <tool_call>\\n{"name": …, "arguments": {…}}\\n</tool_call><|im_end|>    sampled
    TOOL     \\n<|im_start|>user\\n<tool_response>\\n…\\n</tool_response><|im_end|>\\n
    OPENING  <|im_start|>assistant\\n
    POLICY   Done.<|im_end|>                                               the closing turn

Control tokens are `Control` parts and only the template writes them: a query or a response
that spells `<|im_end|>` gets the ids of its letters (`Tokenizer.encode_parts`).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tooltrain.calls.parser import parse_calls
from tooltrain.data.tokenizer import END, START, Control, Tokenizer
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Call, MalformedCall

CLOSING = "Done."


class Role(enum.IntEnum):
    """Whose message a token belongs to; POLICY alone is sampled and trained on."""

    SYSTEM = 0
    USER = 1
    OPENING = 2
    POLICY = 3
    TOOL = 4


class Message(NamedTuple):
    """A stretch of an episode that one role is told to have written."""

    role: Role
    parts: tuple[str, ...]


class Episode(NamedTuple):
    """An episode as ids: tokens int32 [T], roles int8 [T] (`Role`)."""

    tokens: np.ndarray
    roles: np.ndarray


class ChatTemplate:
    """Renders episodes to ids with one tokenizer.

    Tools are listed by signature (`Search_Flights(fromId, toId, departDate, returnDate?, …)`,
    optional arguments with a question mark), which takes a tenth of the tokens of a schema.

    Raises UserError if the tokenizer does not end turns as this template does, or if it joins
    text across a turn's border (then appended ids would differ from those of the whole text).
    """

    end = END

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        ends = tokenizer.control_ids.get(self.end)
        if ends != tokenizer.eos_id:
            raise UserError(
                f"{type(self).__name__} ends turns with {self.end}, which is id {ends} in this "
                f"tokenizer, and the tokenizer ends them with id {tokenizer.eos_id}; use the chat "
                "template of the model that the tokenizer belongs to (docs/models.md)"
            )
        self._check_borders()

    @property
    def eos_id(self) -> int:
        return self.tokenizer.eos_id

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_id

    def prompt_messages(self, query: str, tools: Sequence[Tool]) -> list[Message]:
        """What stands before the first sampled token."""
        listed = "\n".join(map(tool_text, tools))
        tools_block = (Control("<tools>"), f"\n{listed}\n", Control("</tools>"))
        return [
            Message(Role.SYSTEM, chatml("system", *tools_block)),
            Message(Role.USER, chatml("user", query)),
            self.opening(),
        ]

    def opening(self) -> Message:
        """The beginning of an assistant turn."""
        return Message(Role.OPENING, (Control(START), "assistant\n"))

    def completion_parts(self, calls: Sequence[Call]) -> tuple[str, ...]:
        """An assistant turn without its end token; no calls make the closing turn."""
        return join("\n", [call_parts(call) for call in calls]) or (CLOSING,)

    def observation_messages(self, texts: Sequence[str]) -> list[Message]:
        """What stands between a sampled end token and the next sampled token."""
        shown = join("\n", [response_parts(text) for text in texts])
        return [Message(Role.TOOL, ("\n", *chatml("user", *shown))), self.opening()]

    def calls(self, text: str) -> list[Call | MalformedCall]:
        """The calls of an assistant turn (its end token left out) in this format."""
        return parse_calls(text)

    def completion_text(self, calls: Sequence[Call]) -> str:
        return "".join(self.completion_parts(calls))

    def prompt(self, query: str, tools: Sequence[Tool]) -> list[int]:
        """Ids up to and with the opening of the first assistant turn."""
        return self._ids(self.prompt_messages(query, tools))

    def completion(self, calls: Sequence[Call]) -> list[int]:
        """Ids of an assistant turn, its end token with them."""
        return [*self.tokenizer.encode_parts(self.completion_parts(calls)), self.eos_id]

    def observations(self, texts: Sequence[str]) -> list[int]:
        """Ids between a sampled end token and the next assistant turn."""
        return self._ids(self.observation_messages(texts))

    def episode(
        self,
        query: str,
        tools: Sequence[Tool],
        turns: Sequence[tuple[Sequence[Call], Sequence[str]]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """A whole gold episode: (tokens int32 [T], completion_mask bool [T]).

        turns: (calls, observation texts) of each turn; the closing turn is added.
        """
        tokens, roles = self.episode_roles(query, tools, turns)
        return tokens, roles == Role.POLICY

    def episode_roles(
        self,
        query: str,
        tools: Sequence[Tool],
        turns: Sequence[tuple[Sequence[Call], Sequence[str]]],
    ) -> Episode:
        """`episode` with the role of every token."""
        messages = self.prompt_messages(query, tools)
        for calls, texts in turns:
            messages += [self._turn(calls), *self.observation_messages(texts)]
        messages.append(self._turn(()))
        ids = [self.tokenizer.encode_parts(m.parts) for m in messages]
        roles = [np.full(len(i), m.role, np.int8) for i, m in zip(ids, messages, strict=True)]
        return Episode(np.array([i for each in ids for i in each], np.int32), np.concatenate(roles))

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def _turn(self, calls: Sequence[Call]) -> Message:
        return Message(Role.POLICY, (*self.completion_parts(calls), Control(self.end)))

    def _ids(self, messages: Iterable[Message]) -> list[int]:
        return [i for m in messages for i in self.tokenizer.encode_parts(m.parts)]

    def _check_borders(self) -> None:
        call = Call("f", {"a": "b"})
        messages = [
            *self.prompt_messages("q", [Tool("f", "", {"type": "object", "properties": {}})]),
            self._turn((call, call)),
            *self.observation_messages(("{}", "{}")),
            self._turn(()),
        ]
        whole = self.tokenizer.encode_parts([part for m in messages for part in m.parts])
        if whole != self._ids(messages):
            raise UserError(
                f"this tokenizer joins text across {type(self).__name__}'s turn borders, so "
                "ids appended during an episode would not be those of its whole text; use the "
                "chat template of the model that the tokenizer belongs to (docs/models.md)"
            )


def chatml(role: str, *content: str) -> tuple[str, ...]:
    """The parts of a ChatML message, with the line break after it."""
    return (Control(START), f"{role}\n", *content, Control(END), "\n")


def call_parts(call: Call) -> tuple[str, ...]:
    """A call in Hermes tags."""
    return (Control("<tool_call>"), f"\n{call_json(call)}\n", Control("</tool_call>"))


def response_parts(text: str) -> tuple[str, ...]:
    """A tool's response in Hermes tags."""
    return (Control("<tool_response>"), f"\n{text}\n", Control("</tool_response>"))


def join(between: str, pieces: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Parts of `pieces` in order, `between` between two of them."""
    joined: list[str] = []
    for piece in pieces:
        joined += [between, *piece] if joined else piece
    return tuple(joined)


def tool_text(tool: Tool) -> str:
    """A tool as the prompt lists it: its signature."""
    names = [name if name in tool.required else f"{name}?" for name in tool.properties]
    return f"{tool.name}({', '.join(names)})"


def tool_schema(tool: Tool) -> dict[str, object]:
    """A tool in the form that chat APIs and the models' own templates take."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def call_json(call: Call) -> str:
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


def call_text(call: Call) -> str:
    """A call as the policy is to write it."""
    return "".join(call_parts(call))
