"""The paper's released reward, number for number, in plain Python.

For parity and comparison (arXiv 2603.24709, section on graduated rewards; DESIGN.md section
6 has its formula and its measured faults). Over the C emitted calls, against the *first*
step g that has the call's name (all 0 where none has):

    name      = 0.33
    structure = 0.33 (shared arguments / gold arguments) (of the right type / shared)
    values    = 0.34 if the arguments are the gold ones, each equal as BFCL compares them
    ast       = name + structure + values,  semantic = executed without error
    atomic    = mean over calls of (ast + semantic) / 2
    orchestration = share of steps for which some call with the step's name comes after
                the calls counted for all its dependencies
    score     = w_atomic atomic + w_orchestration orchestration

Unlike the release it does not raise on calls whose JSON is a bare number or string, or
whose values BFCL's checker trips over: those earn nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tooltrain.calls.canonical import canonical
from tooltrain.calls.released import ReleasedCall, executed, released_arguments, succeeded
from tooltrain.types import Json

DEFAULT_WEIGHTS = {
    "R_atomic_validity": 0.5,
    "R_outcome_orchestration": 0.5,
    "R_outcome_state": 0.0,
}
_RATES = (  # of what `_atomic` returns for a call, in this order
    "R_atomic_validity_name",
    "R_atomic_validity_structure",
    "R_atomic_validity_values",
    "R_atomic_validity_ast",
    "R_atomic_validity_semantic",
    "R_atomic_validity_rate",
    "tool_executable_rate",
    "tool_calling_success_rate",
)


def released_score(
    calls: Sequence[ReleasedCall],
    ground_truth: Sequence[Sequence[Mapping]],
    execution_traces: Sequence[Mapping],
    step_dependency: Sequence[Sequence[int] | None] | None,
    weights: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """All twelve numbers the release returns, under its keys, each in [0, 1].

    ground_truth: per step the candidate tools, {"name", "success"}; execution_traces: per
    step {tool: {"success", "traces": [{"arguments"}]}}; step_dependency: per step the steps
    it needs, or None. A component of weight 0 is not computed and is 0, as in the release.
    """
    weights = DEFAULT_WEIGHTS if weights is None else weights
    rows = []
    if weights.get("R_atomic_validity", 0.0) > 0.0:
        rows = [_atomic(call, execution_traces) for call in calls]
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)] or [0.0] * len(_RATES)
    scores = dict(zip(_RATES, means, strict=True))
    scores["R_atomic_validity"] = (
        scores["R_atomic_validity_ast"] + scores["R_atomic_validity_semantic"]
    ) / 2
    scores["R_outcome_orchestration"] = 0.0
    if weights.get("R_outcome_orchestration", 0.0) > 0.0:
        scores["R_outcome_orchestration"] = _orchestration(calls, ground_truth, step_dependency)
    scores["R_outcome_state"] = 0.0  # a placeholder in the release
    scores["score"] = sum(weights.get(key, 0.0) * scores[key] for key in DEFAULT_WEIGHTS)
    return scores


def _name(value: Json) -> str | None:
    name = value.get("name", "") if type(value) is dict else None
    return name if type(name) is str else None


def _atomic(call: ReleasedCall, execution_traces: Sequence[Mapping]) -> tuple[float, ...]:
    name = _name(call.value)
    step = next((tools[name] for tools in execution_traces if name in tools), None)
    if name is None or step is None:
        return (0.0,) * len(_RATES)
    named = structure = values = 0.0
    if step.get("traces"):
        gold = step["traces"][0]["arguments"]
        if name == step["traces"][0]["function_name"]:
            arguments = released_arguments(call.value)
            named, structure = 0.33, 0.33 * _structure(arguments, gold)
            values = 0.34 if _same_values(arguments, gold) else 0.0
    semantic = float(bool(step.get("success", False)) and executed(call.response))
    ast = named + structure + values
    right = float(ast >= 1.0 and semantic == 1.0)
    answered, fine = float(call.response is not None), float(succeeded(call.response))
    return (named, structure, values, ast, semantic, right, answered, fine)


def _structure(arguments: Mapping[str, Json], gold: Mapping[str, Json]) -> float:
    if not gold:
        return float(not arguments)
    shared = arguments.keys() & gold.keys()
    return sum(_compatible(arguments[key], gold[key]) for key in shared) / len(gold)


def _compatible(a: Json, b: Json) -> bool:
    """The same JSON type; in the release a boolean passes for a number."""
    return (isinstance(a, (int, float)) and isinstance(b, (int, float))) or type(a) is type(b)


def _same_values(arguments: Mapping[str, Json], gold: Mapping[str, Json]) -> bool:
    if arguments.keys() != gold.keys():
        return False
    try:
        return all(bfcl_equal(arguments[key], gold[key]) for key in gold)
    except (TypeError, KeyError, OverflowError):  # where BFCL's own checker raises
        return False


def bfcl_equal(value: Json, gold: Json) -> bool:
    """Equality as BFCL's Python checker has it, when the one possible answer is `gold` and
    the schema is inferred from it: an int passes for a float but not a float for an int,
    strings in standard form, lists of one type. Raises where that checker does (null)."""
    if type(gold) is float and type(value) is int:
        value = float(value)
    if gold is None:
        raise KeyError("NoneType")
    if type(value) is not type(gold):
        return False
    if type(gold) is dict:
        return _bfcl_dict(value, gold)
    if type(gold) is not list:
        return _standard(value) == _standard(gold)
    items = type(gold[0]) if gold else str
    known = next((type(item) for item in gold if item != ""), None)
    if items is type(None):
        raise KeyError("NoneType")
    if any(type(item) is not items and type(item) is not known for item in value):
        return False
    if items is dict:
        return len(value) == len(gold) and all(map(_bfcl_dict, value, gold))
    return [*map(_standard, value)] == [*map(_standard, gold)]


def _bfcl_dict(value: dict, gold: dict) -> bool:
    # BFCL expects each member of an answer to be a list of options. The release passes
    # the bare value, so the "options" of a string are its letters, and a string member
    # may be left out because "" is in every string.
    for key, member in value.items():
        if key not in gold:
            return False
        if _standard(member) not in [_standard(gold[key][i]) for i in range(len(gold[key]))]:
            return False
    return all(key in value or "" in member for key, member in gold.items())


def _standard(value: Json) -> Json:
    return canonical(value)[1:] if type(value) is str else value


def _orchestration(
    calls: Sequence[ReleasedCall],
    ground_truth: Sequence[Sequence[Mapping]],
    step_dependency: Sequence[Sequence[int] | None] | None,
) -> float:
    if not ground_truth:
        return 0.0
    names = [call.value.get("name") if _name(call.value) is not None else None for call in calls]
    counted: dict[int, int] = {}  # step -> position of the call counted for it
    for step, tools in enumerate(ground_truth):
        needs = (step_dependency[step] if step_dependency else None) or ()
        if any(source not in counted for source in needs):
            continue
        after = max((counted[source] for source in needs), default=-1)
        for wanted in (tool["name"] for tool in tools if tool.get("success", False)):
            found = next((i for i, name in enumerate(names) if name == wanted and i > after), None)
            if found is not None:
                counted[step] = found
                break
    return len(counted) / len(ground_truth)
