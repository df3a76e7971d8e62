"""ComplexFuncBench, offline: 1,000 samples played against their own recorded responses.

    samples (rebuilt turns) -> player -> journal of finished samples -> tables
                                 ^ environment answers each call

Every sample is read twice, side by side: `complexfuncbench_strict` asks for right values,
`complexfuncbench_reference` counts as the released evaluator does. Writes
WORKDIR/eval/complexfuncbench/<player>/: run.json and samples.jsonl (`journal`), and, when
all samples are finished, summary.json (`complexfuncbench_scores.summarize`).
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence, Set
from typing import Any

import tqdm

from tooltrain.eval.complexfuncbench_players import Player
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, BenchmarkSample, Request
from tooltrain.eval.complexfuncbench_scores import score, summarize
from tooltrain.eval.journal import Journal


def evaluate(
    player: Player,
    samples: Sequence[BenchmarkSample],
    environment: BenchmarkEnvironment,
    directory: str | os.PathLike[str],
    *,
    settings: dict[str, Any],
    imitated: Set[Request] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Plays the samples that are not finished in `directory`, and summarizes all of `samples`.

    settings: JSON; what the episodes depend on beside player, cache and view, for example
    the number of distractors. imitated: calls that were trained on; given, the summary also
    tells samples that share a gold call with them from samples that share none. Stopped at any
    moment, it goes on where it was. Raises UserError if `directory` holds episodes of another
    player, cache or setting, and what the player raises.
    """
    directory = pathlib.Path(directory)
    projection = environment.projection
    identity = {
        **player.identity,
        **settings,
        "cache": environment.cache.digest,
        "view": "whole"
        if environment.whole_responses
        else [projection.max_tokens, projection.max_items, projection.max_value_chars],
    }
    with Journal.open(directory, identity) as journal:
        left = [sample for sample in samples if sample.id not in journal.rows]
        bar = tqdm.tqdm(
            total=len(samples),
            initial=len(samples) - len(left),
            desc=player.identity["player"],
            unit="sample",
            disable=not progress,
        )
        with bar:
            for sample, records, end in player.play(left, environment) if left else ():
                journal.add(score(sample, records, end, environment))
                bar.update()
        rows = [journal.rows[sample.id] for sample in samples]
    seen = None
    if imitated is not None:
        seen = {sample.id for sample in samples if not imitated.isdisjoint(sample.requests)}
    summary = summarize(rows, seen=seen)
    path = directory / "summary.json"
    partial = path.with_suffix(".partial")
    partial.write_text(
        json.dumps({"identity": identity, **summary}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    partial.replace(path)
    return summary
