"""OpenAI's chat messages -> ids of the policy's own template, and answers back.

Token in, token out: an answer with tool calls is remembered under its call ids, so that
when it comes back as history the ids that were sampled stand there again, and not a new
tokenization of what they said. A call of it that could not be read has no id; its parse error
stands in its place among the responses, as in an episode.
"""

from __future__ import annotations

import collections
import itertools
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tooltrain.calls.parser import read_call
from tooltrain.data.chat_template import ChatTemplate, Message, Role, chatml
from tooltrain.data.tokenizer import Control
from tooltrain.env.environment import error
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Call, Json, MalformedCall, ObservationKind

_REMEMBERED = 4096  # answers
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")


class BadRequest(ValueError):
    """What a client sent cannot be answered. param: the field at fault."""

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.param = param


class Conversations:
    """Renders requests with `template`; remembers the answers it gave.

    Raises UserError for the template of a published family other than SmolLM2.
    """

    def __init__(self, template: ChatTemplate):
        if type(template) is not ChatTemplate:
            raise UserError(
                f"this policy's chat template is {type(template).__name__}; served are policies "
                "with tooltrain's own (trained from scratch, or from SmolLM2). Write it with "
                "tooltrain.cli.export and serve that directory as any Hugging Face model"
            )
        self.template = template
        self._answers: collections.OrderedDict[str, tuple[int, ...]] = collections.OrderedDict()

    def ids(self, messages: Json, tools: Json) -> list[int]:
        """Ids through the opening of the next assistant turn. Raises BadRequest.

        A conversation begins with a user's message; system messages before it are read as
        its beginning. Tool messages answer the calls of the assistant message before them,
        in the order of the calls.
        """
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages must be a list of one or more messages", "messages")
        offered = _tools(tools)
        query, rest = _query(messages)
        ids = self.template.prompt(query, offered)
        i = 0
        while i < len(rest):
            role = rest[i].get("role")
            if role != "assistant":
                raise BadRequest(f"expected an assistant message, got role {role!r}", "messages")
            calls = rest[i].get("tool_calls") or []
            said, written = self._said(rest[i], calls)
            ids += said
            following = rest[i + 1 : i + 1 + max(1, len(calls))]
            if calls:
                responses = iter(_responses(calls, following))
                shown = [next(responses) if isinstance(c, Call) else _fault(c) for c in written]
                ids += self.template.observations(shown)
            elif following and following[0].get("role") == "user":
                user = Message(Role.USER, ("\n", *chatml("user", _text(following[0]))))
                for message in (user, self.template.opening()):
                    ids += self.template.tokenizer.encode_parts(message.parts)
            else:
                raise BadRequest("the last message must be a user's or a tool's", "messages")
            i += 1 + len(following)
        return ids

    def answer(self, ids: Sequence[int], *, parallel: bool = True) -> tuple[dict[str, Any], str]:
        """(assistant message, finish reason but for length) of sampled ids, end token or not.

        parallel: with all calls that were written; without, the first alone.
        """
        stopped = bool(ids) and ids[-1] == self.template.eos_id
        text = self.template.text(ids[:-1] if stopped else ids)
        calls = self.template.calls(text)
        read = [call for call in calls if isinstance(call, Call)]
        message: dict[str, Any] = {"role": "assistant", "content": content_of(text) or None}
        if any(isinstance(call, MalformedCall) for call in calls):
            message["content"] = text  # nothing that was written is lost
        if not read:
            return message, "stop"
        if not parallel:
            read = read[:1]
        message["tool_calls"] = [
            {
                "id": f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(call.arguments, ensure_ascii=False),
                },
            }
            for call in read
        ]
        if stopped:
            self._answers[message["tool_calls"][0]["id"]] = tuple(ids)
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return message, "tool_calls"

    def _said(
        self, message: Mapping[str, Any], calls: Json
    ) -> tuple[list[int], list[Call | MalformedCall]]:
        """Ids of an assistant message, and the calls in them."""
        if not calls:
            parts = (_text(message), Control(self.template.end))
            return self.template.tokenizer.encode_parts(parts), []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise BadRequest("tool_calls must be a list of objects", "messages")
        _check_ids([call.get("id") for call in calls], "id", "tool calls")
        read: list[Call | MalformedCall] = []
        for call in calls:
            function = call.get("function")
            got = read_call(function if isinstance(function, dict) else {})
            if isinstance(got, MalformedCall):
                raise BadRequest(f"tool_calls: {got.detail}", "messages")
            read.append(got)
        remembered = self._answers.get(calls[0]["id"], ())
        if remembered:  # if the client left it as it was
            written = self.template.calls(self.template.text(remembered[:-1]))
            if [call for call in written if isinstance(call, Call)] == read:
                return list(remembered), written
        return self.template.completion(read), read


def content_of(text: str) -> str:
    """What stands before the first call: what a chat shows, and a stream can send at once."""
    return text.partition("<tool_call>")[0].rstrip("\n")


def _query(messages: Sequence[Json]) -> tuple[str, list[dict[str, Any]]]:
    if not all(isinstance(message, dict) for message in messages):
        raise BadRequest("every message must be an object with a role", "messages")
    said = []
    for i, message in enumerate(messages):
        if message.get("role") in ("system", "developer"):
            said.append(_text(message))
        elif message.get("role") == "user":
            return "\n".join([*said, _text(message)]), list(messages[i + 1 :])
        else:
            break
    raise BadRequest("a conversation begins with a user's message", "messages")


def _responses(calls: Sequence[Mapping[str, Any]], messages: Sequence[Mapping]) -> list[str]:
    tools = list(itertools.takewhile(lambda message: message.get("role") == "tool", messages))
    ids = [message.get("tool_call_id") for message in tools]
    _check_ids(ids, "tool_call_id", "tool messages")
    answered = dict(zip(ids, map(_text, tools), strict=True))
    if missing := [call["id"] for call in calls if call["id"] not in answered]:
        raise BadRequest(f"no tool message answers the calls {missing}", "messages")
    return [answered[call["id"]] for call in calls]


def _check_ids(ids: Sequence[Json], field: str, holders: str) -> None:
    """Raises BadRequest unless the ids are strings, each another."""
    seen: set[str] = set()
    for id_ in ids:
        if not isinstance(id_, str):
            raise BadRequest(
                f"{field} must be a string in all {holders}, got {type(id_).__name__}", "messages"
            )
        if id_ in seen:
            raise BadRequest(
                f"two {holders} of one turn have the {field} {id_[:80]!r}; give each its own",
                "messages",
            )
        seen.add(id_)


def _fault(call: MalformedCall) -> str:
    """What the environment shows of a call that could not be read."""
    observation = error(ObservationKind.MALFORMED, call.detail)
    return json.dumps(observation.content, ensure_ascii=False)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is None and message.get("role") == "assistant":
        return ""
    if not isinstance(content, str):
        raise BadRequest("content must be a string or a list of text parts", "messages")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise BadRequest("content holds half of a surrogate pair", "messages") from None
    return content


def _tools(tools: Json) -> list[Tool]:
    if tools is None:
        return []
    read = []
    for tool in tools if isinstance(tools, list) else [None]:
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        parameters = function.get("parameters") or {} if isinstance(function, dict) else {}
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadRequest('a tool is {"type": "function", "function": {"name": …}}', "tools")
        properties = parameters.get("properties", {}) if isinstance(parameters, dict) else None
        if not isinstance(properties, dict):
            raise BadRequest(f"the parameters of {name} must be a JSON-schema object", "tools")
        required = parameters.get("required") or []
        if not isinstance(required, list) or not all(isinstance(r, str) for r in required):
            raise BadRequest(f"required of {name} must be a list of argument names", "tools")
        schema = {"type": "object", "properties": properties, "required": required}
        read.append(Tool(name, str(function.get("description") or ""), schema, name))
    return read
