"""BFCL's multi-turn tests: calls applied to its environment classes, nothing evaluated.

The package's own executor hands the model's string to `eval`. Here a call is a name and
arguments: the name is looked up among the methods that the test offers, and the method is
called with the arguments. Gold, which the package writes as Python source, is read by `ast`
as literals. State and responses are compared by the package's own checkers.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
from collections.abc import Sequence
from typing import Any

from tooltrain.eval.bfcl import Bfcl, Entry, Verdict
from tooltrain.types import Call, MalformedCall

MAX_STEPS = 20  # answers to one user turn; the package stops a model there, too

Step = Sequence[Call | MalformedCall]


class World:
    """The environment of one test: an instance of each class it involves."""

    def __init__(self, bfcl: Bfcl, entry: Entry):
        self.instances: dict[str, Any] = {}
        for name in entry.data["involved_classes"]:
            instance = bfcl.backend(name)
            if not bfcl.is_stateless(name):
                config = copy.deepcopy(entry.data["initial_config"].get(name, {}))
                instance._load_scenario(config, long_context=False)
            self.instances[name] = instance
        offered = {tool.name for tool in entry.tools}
        # Of two classes with a method of one name the later has it, as in the package.
        self._methods = {
            name: method
            for instance in self.instances.values()
            for name, method in inspect.getmembers(instance, inspect.ismethod)
            if name in offered
        }

    def execute(self, call: Call | MalformedCall) -> str:
        """What the environment answers, as text; errors in the package's words. Never raises."""
        if isinstance(call, MalformedCall):
            return _error(call.detail)
        if call.name not in self._methods:
            return _error(f"name '{call.name}' is not defined")
        try:
            result = self._methods[call.name](**copy.deepcopy(call.arguments))
            if isinstance(result, str):
                return result
            return _json(result) if isinstance(result, dict) else str(result)
        except Exception as error:  # whatever its classes make of the arguments
            return _error(str(error))

    def signature(self, name: str) -> inspect.Signature:
        return inspect.signature(self._methods[name])


def _json(result: dict) -> str:
    try:
        return json.dumps(result)
    except (TypeError, ValueError):
        return str(result)


def _error(text: str) -> str:
    return f"Error during execution: {text}"


def gold_turns(entry: Entry, world: World) -> list[list[Call]]:
    """Gold calls of each user turn, positional arguments under their names."""
    return [[_read_call(source, world) for source in turn] for turn in entry.answer]


def _read_call(source: str, world: World) -> Call:
    """Raises ValueError for anything but a call of a known method with literal arguments."""
    node = ast.parse(source.strip(), mode="eval").body
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(f"not a call of a method: {source!r}")
    positional = [ast.literal_eval(argument) for argument in node.args]
    named = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
    bound = world.signature(node.func.id).bind(*positional, **named)
    return Call(node.func.id, dict(bound.arguments))


def check_multi_turn(bfcl: Bfcl, entry: Entry, turns: Sequence[Sequence[Step]]) -> Verdict:
    """The package's rules on what was called: turns[t][s] are the calls of one answer.

    After each user turn the state of every class must be gold's, and gold's responses of
    that turn must be among all responses so far. Fewer turns than gold has (a model that
    was stopped) are invalid.
    """
    checker = importlib.import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker")
    played, right = World(bfcl, entry), World(bfcl, entry)
    gold = gold_turns(entry, right)
    if len(turns) != len(gold):
        return Verdict(False, "multi_turn:force_terminated")
    responses: list[str] = []
    for steps, gold_calls in zip(turns, gold, strict=True):
        responses += [played.execute(call) for step in steps for call in step]
        expected = [right.execute(call) for call in gold_calls]
        if not gold_calls:
            continue
        if not any(steps):
            return Verdict(False, "multi_turn:empty_turn_model_response")
        for result in (
            checker.state_checker(played.instances, right.instances),
            checker.response_checker(responses, expected, 0),
        ):
            if not result["valid"]:
                return Verdict(False, result["error_type"])
    return Verdict(True)
