"""Derivability of any trace file: each argument, how it can be worked out or why not.

Reads our JSON lines (`data.traces`) and those of the paper's release (a trace has `steps`).
Where a trace names no bindings, a value counts as bound if any earlier response holds it
as text: that is the benefit of the doubt, and what a *literal* check asks too. The
*normalising* check also reads dates, numbers, times and wordings; the *explained* one
asks, besides, that the query says which element of a list was meant.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tooltrain.data.traces import trace_from_json
from tooltrain.env.environment import Environment
from tooltrain.env.projection import NAMING, leaf_values
from tooltrain.errors import UserError
from tooltrain.synthesis.derive import (
    at_path,
    binding_fault,
    is_default,
    selector_faults,
    shown_texts,
)
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.readings import Reading, holds
from tooltrain.synthesis.wordings import ORDINALS, superlatives
from tooltrain.types import Call, GoldCall, Json, Trace

BOUND, DEFAULT = "bound to an earlier response", "the schema's default"
NOT_STATED = "not stated"
_MAX_EXAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One argument of one gold call.

    way: how it is derived, None if it is not; literal: also without normalisation;
    explained: a bound value's element is told by the query (True for all else).
    """

    call: int
    tool: str
    argument: str
    value: Json
    way: str | None
    reason: str
    literal: bool
    explained: bool


def read_traces(path: str | os.PathLike[str]) -> Iterator[tuple[Trace, bool]]:
    """(trace, whether it names its bindings) of each line.

    Raises UserError for a line that is no trace, naming the line, and for a file that
    cannot be read.
    """
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if "steps" in record:
                yield _released(record, number), False
            else:
                yield trace_from_json(record), True
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number}: neither a trace of `synthesize --export` (query, "
                f"calls, ...) nor one of the paper's release (query, steps): {error!r}"
            ) from error


def _lines(path: str | os.PathLike[str]) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as file:
            yield from file
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read {path}: it is no text in UTF-8 ({error.reason}); give a trace file, "
            "JSON lines"
        ) from error


def _released(record: Mapping[str, Any], number: int) -> Trace:
    calls, responses = [], []
    for step in record["steps"]:
        gold = step["ground_truth"]
        depends_on = tuple(step.get("depends_on") or ())
        calls.append(GoldCall(gold["function"], gold["arguments"], depends_on))
        responses.append((step.get("execution_result") or {}).get("execution_result"))
    tools = [tool for step in record["steps"] for tool in step.get("candidate_tools", ())]
    return Trace(
        f"line {number}",
        "released",
        str(record.get("workflow_id", "")),
        record["query"],
        tuple(dict.fromkeys(tools)),
        tuple(calls),
        tuple(responses),
    )


def verdicts(trace: Trace, environment: Environment | None, *, has_bindings: bool) -> list[Verdict]:
    """A verdict for each argument; a list or an object has one for each of its leaves.

    environment: gives the defaults, what of a response is visible, and the responses of a
    trace stored without them; None: a response is visible whole and no default is known.
    Raises UserError if the trace has no responses and there is no environment.
    """
    trace = _with_responses(trace, environment)
    views = [_view(trace, i, environment) for i in range(len(trace.calls))]
    tools = environment.tools if environment else {}
    reading = Reading(trace.query)
    found = []
    for i, call in enumerate(trace.calls):
        bindings = {b.argument: b for b in call.bindings}
        for name, whole in call.arguments.items():
            for _, value in leaf_values(whole):
                explained, reason = True, NOT_STATED
                how = reading.how(value, name)
                if name in bindings:
                    fault = binding_fault(bindings[name], value, trace, views)
                    way, reason = (None, fault) if fault else (BOUND, "")
                    if not fault:
                        alone = dataclasses.replace(call, bindings=(bindings[name],))
                        explained = not selector_faults(alone, reading, views)
                elif is_default(tools, call, name):
                    way = DEFAULT
                elif how:
                    way = f"stated: {how}"
                elif not has_bindings and (sources := _sources(trace, views, i, value)):
                    way = BOUND
                    explained = any(_told(reading, trace.responses[j], p) for j, p in sources)
                else:
                    way = None
                literal = way in (BOUND, DEFAULT) or _literally(reading, value)
                found.append(
                    Verdict(
                        *(i, call.name, name, value, way, "" if way else reason),
                        *(literal, explained),
                    )
                )
    return found


def _with_responses(trace: Trace, environment: Environment | None) -> Trace:
    if len(trace.responses) == len(trace.calls):
        return trace
    if environment is None:
        raise UserError(
            f"trace {trace.id} holds no responses; give --workdir (and --config) of the run "
            "whose cache has them, or export with responses"
        )
    answers = [environment.execute(Call(call.name, call.arguments)) for call in trace.calls]
    if wrong := [c.name for c, a in zip(trace.calls, answers, strict=True) if not a.ok]:
        raise UserError(
            f"trace {trace.id}: the cache {environment.cache.path} has no response to its "
            f"call of {wrong[0]}; use the cache that it was made from"
        )
    return dataclasses.replace(trace, responses=tuple(answer.content for answer in answers))


def _view(trace: Trace, index: int, environment: Environment | None) -> str:
    # Of the trace's own response: `Environment.show` knows one view a request, and traces of
    # other recordings answer the same request differently.
    name, response = trace.calls[index].name, trace.responses[index]
    if environment is not None and name in environment.tools:
        return environment.projection(name, response)
    return json.dumps(response, ensure_ascii=False)


def _sources(
    trace: Trace, views: Sequence[str], index: int, value: Json
) -> list[tuple[int, tuple[str | int, ...]]]:
    """Every (earlier call, path) where the value stands and is shown."""
    text = value_text(value)
    if text is None:
        return []
    return [
        (j, path)
        for j in range(index)
        if text in shown_texts(views[j])
        for path, leaf in leaf_values(trace.responses[j])
        if value_text(leaf) == text
    ]


def _literally(reading: Reading, value: Json) -> bool:
    text = value_text(value)
    return text is not None and bool(text) and text.lower() in reading.query.lower()


def _told(reading: Reading, response: Json, path: Sequence[str | int]) -> bool:
    """True if the query (or there being but one, or its being the first) tells which element
    each list position of `path` means."""
    query = reading.query.lower()
    for at, step in enumerate(path):
        if not isinstance(step, int) or step == 0:
            continue
        if step < len(ORDINALS) and holds(query, ORDINALS[step]):
            continue
        siblings = at_path(response, path[:at])
        element = siblings[step]
        if not isinstance(element, dict):
            return False
        named = any(
            isinstance(element.get(field), str) and reading.how(element[field])
            for field in NAMING & element.keys()
        )
        if not named and not _extreme(query, siblings, step):
            return False
    return True


def _extreme(query: str, siblings: Sequence[Json], chosen: int) -> bool:
    """True if a superlative of the query fits a numeric field of the chosen element."""
    for path, value in leaf_values(siblings[chosen]):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        names = [step for step in path if isinstance(step, str)]
        others = []
        for sibling in siblings:
            try:
                other = at_path(sibling, path)
            except (LookupError, TypeError):
                continue
            if isinstance(other, int | float) and not isinstance(other, bool):
                others.append(other)
        for greatest, extreme in ((False, min(others)), (True, max(others))):
            words = superlatives(names[-1] if names else "", greatest)
            if value == extreme and any(holds(query, form) for form in words):
                return True
    return False


def check_file(
    path: str | os.PathLike[str], environment: Environment | None = None
) -> dict[str, Any]:
    """Counts over a trace file (see `report_lines` for their words).

    arguments, traces: how many there are; derivable under each of the three checks;
    gained: traces that only the normalising check derives, by what they needed;
    ways: arguments by how they are derived; reasons: arguments that are not, by reason;
    of_arguments: the same by tool and argument; examples: the first underivable ones.
    """
    traces: collections.Counter[str] = collections.Counter()
    arguments: collections.Counter[str] = collections.Counter()
    ways: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    by_argument: collections.Counter[str] = collections.Counter()
    gained: collections.Counter[str] = collections.Counter()
    examples: list[str] = []
    for trace, has_bindings in read_traces(path):
        found = verdicts(trace, environment, has_bindings=has_bindings)
        for verdict in found:
            arguments["all"] += 1
            arguments["literal"] += verdict.literal and verdict.way is not None
            arguments["normalising"] += verdict.way is not None
            arguments["explained"] += verdict.way is not None and verdict.explained
            if verdict.way:
                ways[verdict.way] += 1
            else:
                reasons[verdict.reason] += 1
                by_argument[f"{verdict.tool}.{verdict.argument}"] += 1
                if len(examples) < _MAX_EXAMPLES:
                    where = f"{verdict.tool}.{verdict.argument}"
                    examples.append(f"{trace.id}: {where} = {verdict.value!r:.60}")
        traces["all"] += 1
        derivable = all(v.way for v in found)
        literal = derivable and all(v.literal for v in found)
        traces["literal"] += literal
        if derivable and not literal:
            gained[" and ".join(sorted({v.way for v in found if v.way and not v.literal}))] += 1
        traces["normalising"] += derivable
        traces["explained"] += derivable and all(v.explained for v in found)
    if not traces["all"]:
        raise UserError(f"{path} holds no trace")
    names = ("all", "literal", "normalising", "explained")
    return {
        "traces": {name: traces[name] for name in names},
        "arguments": {name: arguments[name] for name in names},
        "gained": dict(gained.most_common()),
        "ways": dict(ways.most_common()),
        "reasons": dict(reasons.most_common()),
        "underivable_arguments": dict(by_argument.most_common()),
        "examples": examples,
        "visible": "in the projection" if environment else "whole responses",
    }


def report_lines(found: Mapping[str, Any]) -> list[str]:
    """The report of `check_file` for a person."""

    def line(what: str) -> str:
        counts, every = found[what], found[what]["all"]
        parts = [
            f"{counts[name]:,} {words} ({counts[name] / max(1, every):.1%})"
            for name, words in (
                ("literal", "by a literal check"),
                ("normalising", "by the normalising check"),
                ("explained", "with every choice explained"),
            )
        ]
        return f"{every:,} {what}; derivable: {', '.join(parts)}"

    def counted(title: str, counts: Mapping[str, int]) -> list[str]:
        return [f"{title}:", *(f"  {n:>7,} {name}" for name, n in counts.items())] if counts else []

    return [
        line("traces"),
        line("arguments"),
        *counted("traces that normalising adds, by what they needed", found["gained"]),
        *counted("derived arguments", found["ways"]),
        *counted("underivable arguments by reason", found["reasons"]),
        *counted("underivable arguments by name", found["underivable_arguments"]),
        *(["for example:", *(f"  {e}" for e in found["examples"])] if found["examples"] else []),
    ]
