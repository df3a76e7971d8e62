"""Python callables as live tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tooltrain.env.recorder.backend import Backend, ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Json


class Callables(Backend):
    """Functions called with a request's arguments as keywords.

    A function says "no response" by raising ToolFailure; any other exception counts as
    one too, so that one bad request does not end a recording. Raises UserError when two
    tools have one name. Everything is asked without a plan as well: who passes a function
    knows what it does.
    """

    def __init__(self, pairs: Sequence[tuple[Tool, Callable[..., Json]]]):
        self.tools = {tool.name: tool for tool, _ in pairs}
        self._functions = {tool.name: function for tool, function in pairs}
        self.read_only = frozenset(self.tools)
        if len(self.tools) < len(pairs):
            names = [tool.name for tool, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise UserError(f"tools of one name: {', '.join(twice)}; rename one of each")

    def call(self, tool: str, arguments: Mapping[str, Json]) -> Json:
        try:
            return self._functions[tool](**arguments)
        except ToolFailure:
            raise
        except Exception as error:
            raise ToolFailure(f"{type(error).__name__}: {error}") from error
