"""The environment: answers tool calls from the cache, and never raises.

    call -> unknown tool? -> recorded? -> faults of the arguments? -> not recorded
             error listing    response     error naming each fault     error naming what
             the nearest                                               is near

A recorded request is answered even where the schema finds fault with it (2 of
ComplexFuncBench's 5,070 gold calls: the live API was more lenient than its own
specification); the response is the better witness.
"""

from __future__ import annotations

import collections
import difflib
import json
import sqlite3
import threading
from collections.abc import Collection, Mapping, Sequence

from tooltrain.env.cache import Cache
from tooltrain.env.projection import Projection
from tooltrain.env.schema import Tool, shown
from tooltrain.errors import UserError
from tooltrain.types import Call, Json, MalformedCall, Observation, ObservationKind

_MAX_TOOLS_LISTED = 8
_MAX_FAULTS_LISTED = 8
_MAX_CALL_CHARS = 65_536  # of a call's arguments as JSON; booking's longest have 722
_MAX_NEAR_DIFFERENCES = 2  # more is not near
_SHOWN_CHARS = 200  # of a name in an error
_VIEWS_KEPT_CHARS = 16 << 20
# What Python raises on values that are no JSON, too deep, too long or cyclic.
_UNREADABLE = (TypeError, ValueError, RecursionError, OverflowError, sqlite3.DataError)


class Environment:
    """Tools over one cache. The same call always gets the same observation. Every method
    may be called from any thread."""

    def __init__(self, cache: Cache, projection: Projection):
        self.cache = cache
        self.tools: dict[str, Tool] = cache.tools()
        self.projection = projection
        # Groups repeat calls many times over; a view is a pure function of its request.
        self._views: collections.OrderedDict[tuple[str, str], str] = collections.OrderedDict()
        self._views_chars = 0
        self._views_lock = threading.Lock()

    def execute(
        self, call: Call | MalformedCall, offered: Collection[str] | None = None
    ) -> Observation:
        """The observation of one call; `offered` restricts the tools to those named."""
        if isinstance(call, MalformedCall):
            return error(ObservationKind.MALFORMED, call.detail)
        if not (
            isinstance(call, Call)
            and isinstance(call.name, str)
            and isinstance(call.arguments, dict)
        ):
            return error(
                ObservationKind.MALFORMED,
                "a call is a tool's name and an object of arguments",
            )
        known = self.tools if offered is None else offered
        if call.name not in known or call.name not in self.tools:
            return _unknown_tool(call.name, [name for name in known if name in self.tools])
        tool = self.tools[call.name]
        try:
            key = tool.canonical(call.arguments)
            if len(key) > _MAX_CALL_CHARS:
                return error(
                    ObservationKind.INVALID_ARGUMENTS,
                    f"the arguments have {len(key)} characters; allowed: {_MAX_CALL_CHARS}",
                )
            found, response = self.cache.lookup(tool.name, key)
            if found:
                return Observation(ObservationKind.OK, response)
            faults = tool.validate(call.arguments)
            near = "" if faults else self._near(tool.name, key)
        except UnicodeEncodeError:
            faults = ["a text holds half of a surrogate pair; write the whole character"]
        except _UNREADABLE:
            faults = ["the arguments are nested too deeply or hold an integer of too many digits"]
        if len(faults) > _MAX_FAULTS_LISTED:
            more = len(faults) - _MAX_FAULTS_LISTED
            faults = [*faults[:_MAX_FAULTS_LISTED], f"and {more} more faults"]
        if faults:
            return error(ObservationKind.INVALID_ARGUMENTS, "; ".join(faults))
        return error(
            ObservationKind.NOT_RECORDED,
            f"the arguments are valid but no response of {tool.name} was recorded for them{near}",
        )

    def execute_all(
        self, calls: Sequence[Call | MalformedCall], offered: Collection[str] | None = None
    ) -> list[Observation]:
        """Observations of calls issued together, in their order: none sees another."""
        return [self.execute(call, offered) for call in calls]

    def show(self, call: Call | MalformedCall, observation: Observation) -> str:
        """What the policy sees of `execute(call)`: valid JSON text, within the budget."""
        if not observation.ok:
            return json.dumps(observation.content, ensure_ascii=False)
        request = (call.name, self.tools[call.name].canonical(call.arguments))
        with self._views_lock:
            if request in self._views:
                self._views.move_to_end(request)
                return self._views[request]
        view = self.projection(call.name, observation.content)
        with self._views_lock:
            if request not in self._views:
                self._views[request] = view
                self._views_chars += len(view)
            while self._views_chars > _VIEWS_KEPT_CHARS:
                self._views_chars -= len(self._views.popitem(last=False)[1])
        return view

    def _near(self, tool: str, key: str) -> str:
        """ "; recorded: the same with …" for a neighbour in key order that differs little.

        A function of the call and the cache alone, as all of an observation is."""
        call = json.loads(key)
        nearest: list[str] = []
        for neighbour in self.cache.neighbours(tool, key):
            differences = _differences(call, json.loads(neighbour))
            few = len(differences) <= _MAX_NEAR_DIFFERENCES
            if few and (not nearest or len(differences) < len(nearest)):
                nearest = differences
        return f"; recorded is the same {', '.join(nearest)}" if nearest else ""


def _differences(call: Mapping[str, Json], recorded: Mapping[str, Json]) -> list[str]:
    changed = [
        f"with {name}={shown(value)}"
        for name, value in recorded.items()
        if name not in call or call[name] != value
    ]
    return changed + [f"without {shown(name)}" for name in call if name not in recorded]


def _unknown_tool(name: str, known: Sequence[str]) -> Observation:
    # Names are compared with one that may be of any length: only its beginning counts.
    near = difflib.get_close_matches(name[:_SHOWN_CHARS], known, _MAX_TOOLS_LISTED, 0.0)
    return error(
        ObservationKind.UNKNOWN_TOOL,
        f"no tool {name[:_SHOWN_CHARS]!r}; known tools: {', '.join(near)}",
    )


def error(kind: ObservationKind, message: str) -> Observation:
    """An observation that says what went wrong."""
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
