"""How do the mined workflows compare with the paper's 107 released templates?

Compares the call sequences of the recorded samples, with how often each occurs, and, for
the sample that each template was shown with, the dependencies: argument of a step <- field
of an earlier step's response. Every difference gets a reason that is computed from the
data; `unexplained` counts those that none covers. Prints one JSON object.

    python -m benchmarks.workflow_templates --cache FILE --reference DIR
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import re
from typing import Any

from tooltrain.env.cache import Cache, Sample
from tooltrain.env.projection import generic
from tooltrain.synthesis.derive import at_path
from tooltrain.synthesis.provenance import (
    Link,
    is_date_or_time,
    is_specific,
    mine,
    states_text,
    value_text,
)

SAME = "same"
OTHER_PATH = "another path of the same response holds the value and explains more samples"
OTHER_CALL = "another call's response holds the value in a field that explains more samples"
TYPES = "only here: number and string forms of one value are one value"
DATE = "only there: a date or time, which the user gives"
STATED = "only there: the query states the value"
UNSPECIFIC = "only there: a value of under four characters, no evidence"
UNEXPLAINED = "unexplained"


def compare(cache: Cache, templates: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts by reason; see the module."""
    samples = list(cache.samples())
    links, _ = mine(samples)
    by_id = {s.id: (s, found) for s, found in zip(samples, links, strict=True)}
    sequences = collections.Counter(tuple(c.name for c in s.calls) for s in samples)
    theirs = {tuple(t["pattern"]): t for t in templates}
    same = {p for p, t in theirs.items() if sequences.get(p) == t["frequency"]}
    edges: collections.Counter[str] = collections.Counter()
    for template in templates:
        for example in template["examples"]:
            sample, found = by_id[example["entry_id"]]
            if [call.name for call in sample.calls] == template["pattern"]:
                edges.update(_edges(template, sample, found))
                break
    return {
        "templates": len(templates),
        "sequences": len(sequences),
        "same_sequence_and_frequency": len(same),
        "differing": [
            _counterpart(template, set(sequences) - set(theirs), sequences)
            for pattern, template in theirs.items()
            if pattern not in same
        ],
        "dependencies": dict(edges.most_common()),
        "unexplained": edges[UNEXPLAINED],
    }


def _counterpart(
    template: dict[str, Any], ours: set[tuple[str, ...]], sequences: collections.Counter
) -> dict[str, Any]:
    """The recorded sequence that a template lengthens: what its own count of steps says."""
    pattern = template["pattern"]
    found = [
        list(sequence)
        for sequence in sorted(ours)
        if len(sequence) == template["avg_steps"]
        and sequences[sequence] == template["frequency"]
        and pattern[-len(sequence) :] == list(sequence)
    ]
    return {
        "template": pattern,
        "frequency": template["frequency"],
        "steps_in_template": template["avg_steps"],
        "recorded": found[0] if found else None,
    }


def _edges(template: dict[str, Any], sample: Sample, links: list[Link]) -> list[str]:
    """Reason of each dependency of either side."""
    theirs = {
        (int(step), argument): fed
        for step, call in template["dependencies"].items()
        for argument, fed in call["dependency_args"].items()
    }
    ours = {(link.target, link.argument): link for link in links}
    return [
        _reason(theirs.get(key), ours.get(key), sample)
        for key in sorted(theirs.keys() | ours.keys())
    ]


def _reason(theirs: dict[str, Any] | None, ours: Link | None, sample: Sample) -> str:
    if theirs is None:
        value = sample.calls[ours.target].arguments[ours.argument]
        leaf = at_path(sample.calls[ours.source].response, ours.path)
        return TYPES if isinstance(value, str) != isinstance(leaf, str) else UNEXPLAINED
    if ours is not None:
        if theirs["from_step"] != ours.source:
            return OTHER_CALL
        path = re.sub(r"\[\d+\]", ".[]", theirs["from_field"]).strip(".")
        return SAME if path == ".".join(generic(ours.path)) else OTHER_PATH
    text = value_text(theirs["value"])
    if text is None:
        return UNEXPLAINED
    if is_date_or_time(text):
        return DATE
    if states_text(sample.query, text):
        return STATED
    return UNEXPLAINED if is_specific(text) else UNSPECIFIC


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", required=True, help="the booking cache")
    parser.add_argument("--reference", required=True, help="folder with workflow_templates.json")
    args = parser.parse_args()
    file = pathlib.Path(args.reference) / "workflow_templates.json"
    templates = json.loads(file.read_text())["workflows"]
    print(json.dumps(compare(Cache.open(args.cache), templates), indent=1))


if __name__ == "__main__":
    main()
