"""Episodes as JSON lines, for people and for analysis."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping, Sequence

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.types import Call, CallRecord, Json, Rollout


def messages(rollout: Rollout, template: ChatTemplate) -> list[dict[str, str]]:
    """The episode's text, cut where the writer changes: "prompt", "policy", "environment"."""
    cut: list[dict[str, str]] = []
    pairs = zip(rollout.completion_mask.tolist(), rollout.tokens.tolist(), strict=True)
    for sampled, run in itertools.groupby(pairs, key=lambda pair: pair[0]):
        author = "policy" if sampled else "environment" if cut else "prompt"
        cut.append({"author": author, "text": template.text([token for _, token in run])})
    return cut


def to_json(
    rollout: Rollout, template: ChatTemplate, terms: Mapping[str, float] | None = None
) -> Json:
    """One episode as a JSON object. terms: the reward and its parts, where they are known."""
    return {
        "prompt": rollout.prompt,
        "generation": rollout.generation,
        "end": rollout.end.value,
        "num_turns": rollout.num_turns,
        "num_tokens": len(rollout.tokens),
        "num_sampled": int(rollout.completion_mask.sum()),
        "logprob_sum": float(rollout.logprobs.sum()),
        "messages": messages(rollout, template),
        "calls": [_record(record) for record in rollout.records],
        "terms": None if terms is None else {name: float(x) for name, x in terms.items()},
    }


def append(
    path: str | os.PathLike[str],
    rollouts: Sequence[Rollout],
    template: ChatTemplate,
    terms: Sequence[Mapping[str, float]] | None = None,
) -> None:
    """Appends one line an episode to `path`; terms, if given, has one entry an episode."""
    each = [None] * len(rollouts) if terms is None else terms
    with open(path, "a", encoding="utf-8") as file:
        for rollout, rollout_terms in zip(rollouts, each, strict=True):
            line = json.dumps(to_json(rollout, template, rollout_terms), ensure_ascii=False)
            file.write(line + "\n")


def _record(record: CallRecord) -> Json:
    kind = "call" if isinstance(record.call, Call) else "malformed"
    return {
        kind: dataclasses.asdict(record.call),
        "turn": record.turn,
        "observation": record.kind.value,
    }
