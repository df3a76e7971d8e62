"""BFCL as a whole: tests played, checked, kept in a journal, summarized by category."""

from __future__ import annotations

import collections
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from tooltrain.eval.bfcl import MULTI_TURN, VERSION, Bfcl, Entry, Verdict
from tooltrain.eval.bfcl_multi_turn import check_multi_turn
from tooltrain.eval.bfcl_players import Answered, Player
from tooltrain.eval.evaluate import bootstrap_interval
from tooltrain.eval.journal import Journal
from tooltrain.types import Call, Json


def check(bfcl: Bfcl, answered: Answered) -> Verdict:
    """The verdict of the package's checkers on one test."""
    entry, turns = answered
    if entry.category == MULTI_TURN:
        return check_multi_turn(bfcl, entry, turns)
    calls = [call for steps in turns for step in steps for call in step]
    return bfcl.check_single_turn(entry, calls)


def evaluate(
    player: Player,
    bfcl: Bfcl,
    entries: Sequence[Entry],
    directory: str | os.PathLike[str],
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Plays the tests that are not finished in `directory`; returns and writes the summary.

    Stopped at any moment, it goes on where it was. Raises UserError if `directory` holds
    answers of another player, and what the player raises.
    """
    directory = pathlib.Path(directory)
    identity = {**player.identity, "bfcl": VERSION}
    with Journal.open(directory, identity) as journal:
        left = [entry for entry in entries if entry.id not in journal.rows]
        initial = len(entries) - len(left)
        with tqdm.tqdm(
            total=len(entries), initial=initial, desc="bfcl", disable=not progress
        ) as bar:
            for answered in player.play(left, bfcl) if left else ():
                journal.add(_row(answered, check(bfcl, answered)))
                bar.update()
        summary = summarize([journal.rows[entry.id] for entry in entries])
    path = directory / "summary.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"identity": identity, **summary}, indent=1), encoding="utf-8")
    partial.replace(path)
    return summary


def summarize(rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> dict[str, Any]:
    """{by_category: {category: {tests, mean, low, high}}, errors: {name: tests}}.

    Shares of valid answers with 95% bootstrap intervals over tests. Raises ValueError for
    no rows.
    """
    if not rows:
        raise ValueError("no tests to summarize; play at least one")
    valid: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: row["id"]):
        valid.setdefault(row["category"], []).append(float(row["valid"]))
    table = {}
    for category, values in valid.items():
        column = np.array(values)[:, None]
        low, high = bootstrap_interval(column, seed=seed)
        table[category] = {
            "tests": len(values),
            "mean": float(column.mean()),
            "low": float(low[0]),
            "high": float(high[0]),
        }
    errors = collections.Counter(row["error"] for row in rows if not row["valid"])
    return {"by_category": table, "errors": dict(errors.most_common())}


def table_lines(summary: Mapping[str, Any]) -> list[str]:
    """The table as text, in per cent with intervals."""
    return [
        f"{category:>24} {row['tests']:>5}  {100 * row['mean']:5.1f} "
        f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
        for category, row in summary["by_category"].items()
    ]


def _row(answered: Answered, verdict: Verdict) -> dict[str, Json]:
    return {
        "id": answered.entry.id,
        "category": answered.entry.category,
        "valid": verdict.valid,
        "error": verdict.error,
        "turns": [
            [
                [
                    {"name": call.name, "arguments": call.arguments}
                    if isinstance(call, Call)
                    else {"malformed": f"{call.kind}: {call.detail}"}
                    for call in step
                ]
                for step in steps
            ]
            for steps in answered.turns
        ],
    }
