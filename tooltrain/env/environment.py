"""The environment: answers tool calls from the cache, and never raises.

    call -> unknown tool? -> recorded? -> faults of the arguments? -> not recorded
             error listing    response     error naming each fault     error saying so

A recorded request is answered even where the schema finds fault with it (2 of
ComplexFuncBench's 5,070 gold calls: the live API was more lenient than its own
specification); the response is the better witness.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Collection

from tooltrain.env.cache import Cache
from tooltrain.env.projection import Projection
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Call, MalformedCall, Observation, ObservationKind

_MAX_TOOLS_LISTED = 8
_MAX_FAULTS_LISTED = 8
_SHOWN_RESPONSES_KEPT = 16_384


class Environment:
    """Tools over one cache. The same call always gets the same observation."""

    def __init__(self, cache: Cache, projection: Projection):
        self.cache = cache
        self.tools: dict[str, Tool] = cache.tools()
        self.projection = projection
        # Groups repeat calls many times over; a view is a pure function of its request.
        self._view = functools.lru_cache(_SHOWN_RESPONSES_KEPT)(self._view_of_request)

    def execute(
        self, call: Call | MalformedCall, offered: Collection[str] | None = None
    ) -> Observation:
        """The observation of one call; `offered` restricts the tools to those named."""
        if isinstance(call, MalformedCall):
            return _error(ObservationKind.MALFORMED, call.detail)
        known = self.tools if offered is None else offered
        if call.name not in known or call.name not in self.tools:
            near = difflib.get_close_matches(call.name[:200], known, _MAX_TOOLS_LISTED, 0.0)
            return _error(
                ObservationKind.UNKNOWN_TOOL,
                f"no tool {call.name[:200]!r}; known tools: {', '.join(near)}",
            )
        tool = self.tools[call.name]
        try:
            key = tool.canonical(call.arguments)
            found, response = self.cache.lookup(tool.name, key)
        except (UnicodeEncodeError, RecursionError, ValueError):
            found, response = False, None  # e.g. a lone surrogate: no recorded key has one
        if found:
            return Observation(ObservationKind.OK, response)
        try:
            faults = tool.validate(call.arguments)
        except (RecursionError, ValueError):
            faults = ["the arguments are nested too deeply or hold an integer of too many digits"]
        if len(faults) > _MAX_FAULTS_LISTED:
            more = len(faults) - _MAX_FAULTS_LISTED
            faults = [*faults[:_MAX_FAULTS_LISTED], f"and {more} more faults"]
        if faults:
            return _error(ObservationKind.INVALID_ARGUMENTS, "; ".join(faults))
        return _error(
            ObservationKind.NOT_RECORDED,
            f"the arguments are valid but no response of {tool.name} was recorded for them",
        )

    def show(self, call: Call | MalformedCall, observation: Observation) -> str:
        """What the policy sees of an observation: valid JSON text, within the budget."""
        if observation.ok:
            return self._view(call.name, self.tools[call.name].canonical(call.arguments))
        return json.dumps(observation.content, ensure_ascii=False)

    def _view_of_request(self, tool: str, key: str) -> str:
        return self.projection(tool, self.cache.lookup(tool, key)[1])


def _error(kind: ObservationKind, message: str) -> Observation:
    # A lone surrogate of the policy's own would make the message unfit for a tokenizer.
    message = message.encode("utf-8", "replace").decode()
    return Observation(kind, {"error": {"kind": kind.value, "message": message}})


def open_environment(path: str, **projection: int) -> Environment:
    """Environment over the cache at `path`, its projection keeping what edges read.

    projection: `config.projection`, i.e. max_tokens, max_items and max_value_chars (see
    Projection). Raises CacheError for a path that is no cache, UserError for an unknown
    field or a value out of range.
    """
    allowed = ("max_tokens", "max_items", "max_value_chars")
    if unknown := sorted(set(projection) - set(allowed)):
        raise UserError(
            f"config.projection has no field {', '.join(unknown)}; allowed: {', '.join(allowed)}"
        )
    cache = Cache.open(path)
    keep: dict[str, set[tuple[str, ...]]] = {}
    for edge in cache.edges():
        keep.setdefault(edge.source, set()).add(edge.path)
    frozen = {tool: frozenset(paths) for tool, paths in keep.items()}
    try:
        return Environment(cache, Projection(**projection, keep=frozen))
    except ValueError as error:
        raise UserError(f"config.projection: {error}") from error
