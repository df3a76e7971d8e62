"""Episodes side by side: what each player did with the same query, turn by turn beside gold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tooltrain.report.runs import STAGES, Run
from tooltrain.report.tables import named

_RESPONSE_CHARS = 2_000
_QUERY_CHARS = 4_000

Pair = Mapping[str, Mapping[str, Any]]  # player -> episode of one trace


def examples(runs: Sequence[Run], each: int) -> list[dict[str, Any]]:
    """Episodes that all players played, `each` of every kind that occurs.

    Of one run its stages are compared, of several the last stage of each. A kind's episodes are
    those with most gold calls. An example: why it is shown, query, tools, the names of the
    players and what came of it with each, turns (`_turns`).
    """
    pairs = _played_by_all(runs)
    if not pairs:
        return []
    chosen: list[tuple[str, Pair]] = []
    for why, of_kind in _kinds(list(pairs[0])):
        found = [p for p in pairs if of_kind(p) and all(p is not c for _, c in chosen)]
        found.sort(key=lambda pair: -len(next(iter(pair.values()))["gold"]))
        chosen += [(why, pair) for pair in found[:each]]
    return [_example(why, pair) for why, pair in chosen]


def _played_by_all(runs: Sequence[Run]) -> list[Pair]:
    """Episodes by player, of the traces that are the same with every player."""
    players: dict[str, dict[str, Any]] = {}
    for run in runs:
        for stage in list(run.policies)[0 if len(runs) == 1 else -1 :]:
            episodes = {_identity(episode): episode for episode in run.episodes(stage)}
            players[named(runs, run, STAGES[stage])] = episodes
    if not players:
        return []
    first, *others = players.values()
    return [
        {name: episodes[key] for name, episodes in players.items()}
        for key in first
        if all(key in other for other in others)
    ]


def _identity(episode: Mapping[str, Any]) -> str:
    return json.dumps([episode["trace"], episode["query"], episode["gold"]], sort_keys=True)


def _kinds(players: Sequence[str]) -> Iterator[tuple[str, Callable[[Pair], bool]]]:
    first, last = players[0], players[-1]
    if len(players) > 1:
        yield (
            f"Right with {last}, wrong with {first}",
            lambda pair: _right(pair[last]) and not _right(pair[first]),
        )
        yield (
            f"Wrong with {last}, right with {first}",
            lambda pair: _right(pair[first]) and not _right(pair[last]),
        )
    everyone = "" if len(players) == 1 else " with all" if len(players) > 2 else " with both"
    yield f"Right{everyone}", lambda pair: all(map(_right, pair.values()))
    yield f"Wrong{everyone}", lambda pair: not any(map(_right, pair.values()))


def _right(episode: Mapping[str, Any]) -> bool:
    return episode["metrics"]["success"] == 1.0


def _example(why: str, pair: Pair) -> dict[str, Any]:
    episode = next(iter(pair.values()))
    return {
        "why": why,
        "query": episode["query"][:_QUERY_CHARS],
        "tools": episode["tools"],
        "turns": _turns(pair),
        "players": [
            {
                "name": name,
                "right": _right(played),
                "outcome": played["outcome"],
                "end": played["end"].replace("_", " "),
                "strict": played["metrics"]["strict_turn_accuracy"],
                "reward": played["metrics"]["matched_reward"],
            }
            for name, played in pair.items()
        ],
    }


def _turns(pair: Pair) -> list[list[dict[str, Any]]]:
    """Of each turn what gold calls, and then what each player did.

    A column: name, calls, and a note where there are none. A call: what it is, right, and what
    is marked: of a player's first failure the argument at fault, of gold the argument that some
    player got wrong first.
    """
    gold = next(iter(pair.values()))["gold"]
    wanted = {(episode["failed_gold"], episode["failed_argument"]) for episode in pair.values()}
    depth = max(call["turn"] for call in gold) + 1
    depth = max(depth, *(len(episode["turns"]) for episode in pair.values()))
    turns = []
    for turn in range(depth):
        right = [
            {**call, "right": None, "marked": {a for g, a in wanted if g == i}, "fault": ""}
            for i, call in enumerate(gold)
            if call["turn"] == turn
        ]
        columns = [{"name": "gold", "calls": right, "note": ""}]
        for name, episode in pair.items():
            played = episode["turns"][turn] if turn < len(episode["turns"]) else None
            calls = [_shown(call, episode) for call in played or ()]
            note = "ended" if played is None else "no call" if not played else ""
            columns.append({"name": name, "calls": calls, "note": note})
        turns.append(columns)
    return turns


def _shown(call: Mapping[str, Any], episode: Mapping[str, Any]) -> dict[str, Any]:
    """A player's call; its first failure says what was wrong."""
    shown = {
        **call,
        "right": call["gold"] is not None,
        "marked": set(),
        "fault": "",
        "response": call["response"][:_RESPONSE_CHARS],
    }
    if call["first_failure"]:
        argument, gold = episode["failed_argument"], episode["failed_gold"]
        shown["marked"] = {argument}
        shown["fault"] = episode["outcome"]
        if gold is not None and argument in episode["gold"][gold]["arguments"]:
            right = json.dumps(episode["gold"][gold]["arguments"][argument], ensure_ascii=False)
            shown["fault"] += f"; gold has {argument}={right}"
    return shown
