"""Reading a request for a chat completion: what is asked, what is refused and how."""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any

from tooltrain.rollout.sampling import GREEDY, Sampling
from tooltrain.serve.conversation import BadRequest, Conversations

# Fields that would change the answer and are not served, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "stop": (None, []),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """max_body_bytes: of a request; max_tokens: of one answer; timeout_s: of one request,
    waiting for a slot included."""

    max_body_bytes: int = 4 << 20
    max_tokens: int = 256
    timeout_s: float = 120.0


class ApiError(Exception):
    """What is answered in place of a completion. body: OpenAI's, {"error": …}."""

    def __init__(self, status: int, message: str, kind: str, code: str, param: str | None = None):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclasses.dataclass
class Asked:
    """A request that was understood. parallel: the answer may have several calls. reused: of its
    ids, those that a slot had read already; known once something is sampled."""

    ids: list[int]
    budget: int
    sampling: Sampling
    seed: int
    stream: bool
    include_usage: bool
    parallel: bool
    reused: int = 0


def read_request(
    body: dict[str, Any],
    *,
    model: str,
    conversations: Conversations,
    limits: Limits,
    max_len: int,
) -> Asked:
    """Raises ApiError for what is wrong or not served: 404 the model, 400 anything else.

    max_len: tokens of a conversation, answer included.
    """
    if body.get("model") != model:
        raise ApiError(
            404,
            f"no model {str(body.get('model'))[:200]!r}; served: {model}",
            "invalid_request_error",
            "model_not_found",
            "model",
        )
    if body.get("n") not in (None, 1):
        raise bad_request("n must be 1", "n")
    for name, neutral in _NEUTRAL.items():
        if body.get(name) not in neutral:
            allowed = " or ".join(json.dumps(value) for value in neutral[1:])
            raise bad_request(f"{name} is not served: leave it out, or send {allowed}", name)
    tools = None if body.get("tool_choice") == "none" else body.get("tools")
    if body.get("tool_choice") not in (None, "auto", "none"):
        raise bad_request("tool_choice must be auto or none", "tool_choice")
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise bad_request("parallel_tool_calls must be true or false", "parallel_tool_calls")
    try:
        ids = conversations.ids(body.get("messages"), tools)
    except BadRequest as error:
        raise bad_request(str(error), error.param) from None
    room = max_len - len(ids)
    if room < 1:
        raise bad_request(
            f"this model's maximum context length is {max_len} tokens, the "
            f"messages have {len(ids)}",
            "messages",
            "context_length_exceeded",
        )
    name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    wanted = _number(body, name, limits.max_tokens, 1, 2**31, whole=True)
    # Rounded, so that clients cannot make the server compile without end.
    temperature = round(_number(body, "temperature", 0, 0, 2), 1)
    if _number(body, "top_p", 1, 0, 1) not in (1, 1.0) and temperature:
        raise bad_request("top_p other than 1 is not served", "top_p")
    options = body.get("stream_options") or {}
    return Asked(
        ids=ids,
        budget=min(int(wanted), limits.max_tokens, room),
        sampling=Sampling(temperature=temperature) if temperature else GREEDY,
        seed=int(_number(body, "seed", uuid.uuid4().int % 2**31, -(2**63), 2**63, whole=True))
        % 2**31,
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        parallel=parallel is not False,
    )


def bad_request(message: str, param: str | None = None, code: str = "invalid_request") -> ApiError:
    """What is answered to a request that is wrong in itself: status 400."""
    return ApiError(400, message, "invalid_request_error", code, param)


def _number(
    body: dict[str, Any], name: str, default: float, low: float, high: float, whole: bool = False
) -> float:
    value = body.get(name)
    if value is None:
        return default
    if type(value) not in ((int,) if whole else (int, float)) or not low <= value <= high:
        raise bad_request(
            f"{name} must be a number from {low} to {high}, got {str(value)[:80]}", name
        )
    return value
