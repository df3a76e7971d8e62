"""The chat template: the one place where an episode becomes ids, and who wrote them.

Hermes / Qwen3 format. Prefix-preserving: what follows a turn never changes the ids
before it, so an episode is its prompt, then turns and observations appended as ids.

    <|im_start|>system\\n<tools>\\n…\\n</tools><|im_end|>\\n          prompt
    <|im_start|>user\\n…query…<|im_end|>\\n<|im_start|>assistant\\n
    <tool_call>\\n{"name": …, "arguments": {…}}\\n</tool_call><|im_end|>     completion (sampled)
    \\n<|im_start|>user\\n<tool_response>\\n…\\n</tool_response><|im_end|>\\n    observations
    <|im_start|>assistant\\n
    Done.<|im_end|>                                                 completion: the closing turn
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from tooltrain.data.tokenizer import END, START, Tokenizer
from tooltrain.env.schema import Tool
from tooltrain.types import Call

CLOSING = "Done."
_OPEN_ASSISTANT = f"{START}assistant\n"


class ChatTemplate:
    """Renders episodes to ids with one tokenizer.

    full_schemas: tools are listed with their whole JSON-schema; otherwise by signature
    (`Search_Flights(fromId, toId, departDate, returnDate?, …)`, optional arguments with
    a question mark), which takes a tenth of the tokens.
    """

    def __init__(self, tokenizer: Tokenizer, *, full_schemas: bool = False):
        self.tokenizer = tokenizer
        self.full_schemas = full_schemas

    @property
    def eos_id(self) -> int:
        return self.tokenizer.eos_id

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_id

    def prompt_text(self, query: str, tools: Sequence[Tool]) -> str:
        listed = "\n".join(tool_text(tool, full_schemas=self.full_schemas) for tool in tools)
        return (
            f"{START}system\n<tools>\n{listed}\n</tools>{END}\n"
            f"{START}user\n{query}{END}\n{_OPEN_ASSISTANT}"
        )

    def completion_text(self, calls: Sequence[Call]) -> str:
        """An assistant turn without its end token; no calls make the closing turn."""
        return "\n".join(call_text(call) for call in calls) or CLOSING

    def observations_text(self, texts: Sequence[str]) -> str:
        shown = "\n".join(f"<tool_response>\n{text}\n</tool_response>" for text in texts)
        return f"\n{START}user\n{shown}{END}\n{_OPEN_ASSISTANT}"

    def prompt(self, query: str, tools: Sequence[Tool]) -> list[int]:
        """Ids up to and with the opening of the first assistant turn."""
        return self.tokenizer.encode(self.prompt_text(query, tools))

    def completion(self, calls: Sequence[Call]) -> list[int]:
        """Ids of an assistant turn, its end token with them."""
        return [*self.tokenizer.encode(self.completion_text(calls)), self.eos_id]

    def observations(self, texts: Sequence[str]) -> list[int]:
        """Ids between a sampled end token and the next assistant turn."""
        return self.tokenizer.encode(self.observations_text(texts))

    def episode(
        self,
        query: str,
        tools: Sequence[Tool],
        turns: Sequence[tuple[Sequence[Call], Sequence[str]]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """A whole gold episode: (tokens int32 [T], completion_mask bool [T]).

        turns: (calls, observation texts) of each turn; the closing turn is added.
        """
        pieces = [(self.prompt(query, tools), False)]
        for calls, texts in turns:
            pieces += [(self.completion(calls), True), (self.observations(texts), False)]
        pieces.append((self.completion(()), True))
        tokens = np.concatenate([np.asarray(ids, np.int32) for ids, _ in pieces])
        mask = np.concatenate([np.full(len(ids), sampled) for ids, sampled in pieces])
        return tokens, mask

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)


def tool_text(tool: Tool, *, full_schemas: bool = False) -> str:
    """A tool as the prompt lists it."""
    if full_schemas:
        function = {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        return json.dumps({"type": "function", "function": function}, ensure_ascii=False)
    names = [name if name in tool.required else f"{name}?" for name in tool.properties]
    return f"{tool.name}({', '.join(names)})"


def call_text(call: Call) -> str:
    """A call as the policy is to write it."""
    body = {"name": call.name, "arguments": call.arguments}
    return f"<tool_call>\n{json.dumps(body, ensure_ascii=False)}\n</tool_call>"
