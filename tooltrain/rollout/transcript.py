"""Episodes as JSON lines, for people and for analysis; `terminal.py` shows them.

Keys that every line has, whoever wrote it (`append` here, training and evaluation through
`eval.episodes`, which add the trace, its gold and the verdicts):

    end            `EndReason`
    turns          [turn][call]: name and arguments, or malformed; kind (`ObservationKind`)
    reward_terms   the reward and its parts, null where nobody computed it

and, but for a baseline's in an evaluation, which has no tokens:

    messages       the text, cut where the writer changes: {"author", "text"}
    ids, mask      the tokens, and 1 for those that the policy sampled
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.types import CallRecord, Json, MalformedCall, Rollout


def messages(rollout: Rollout, template: ChatTemplate) -> list[dict[str, str]]:
    """The episode's text, cut where the writer changes: "prompt", "policy", "environment"."""
    cut: list[dict[str, str]] = []
    pairs = zip(rollout.completion_mask.tolist(), rollout.tokens.tolist(), strict=True)
    for sampled, run in itertools.groupby(pairs, key=lambda pair: pair[0]):
        author = "policy" if sampled else "environment" if cut else "prompt"
        cut.append({"author": author, "text": template.text([token for _, token in run])})
    return cut


def tokens_to_json(rollout: Rollout, template: ChatTemplate) -> dict[str, Json]:
    """messages, ids and mask."""
    return {
        "messages": messages(rollout, template),
        "ids": rollout.tokens.tolist(),
        "mask": rollout.completion_mask.astype(int).tolist(),
    }


def call_to_json(record: CallRecord) -> dict[str, Json]:
    """An emitted call: name and arguments, or what was wrong with it."""
    if isinstance(record.call, MalformedCall):
        return {"malformed": f"{record.call.kind}: {record.call.detail}"}
    return {"name": record.call.name, "arguments": record.call.arguments}


def to_json(
    rollout: Rollout, template: ChatTemplate, terms: Mapping[str, float] | None = None
) -> Json:
    """One episode as a JSON object. terms: the reward and its parts, where they are known."""
    turns: list[list[Json]] = [[] for _ in range(rollout.num_turns)]
    for record in rollout.records:
        turns[record.turn].append({**call_to_json(record), "kind": record.kind.value})
    return {
        "prompt": rollout.prompt,
        "generation": rollout.generation,
        "end": rollout.end.value,
        "turns": turns,
        **tokens_to_json(rollout, template),
        "logprob_sum": float(rollout.logprobs.sum()),
        "reward_terms": None if terms is None else {name: float(x) for name, x in terms.items()},
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
