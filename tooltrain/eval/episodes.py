"""Scored episodes as JSON lines, turn by turn: what the report shows and people grep."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import orjson

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.env.environment import Environment
from tooltrain.eval.evaluate import REWARD, ScoredEpisode
from tooltrain.eval.metrics import walk
from tooltrain.rollout.transcript import call_to_json, tokens_to_json
from tooltrain.types import CallRecord, Trace, turns


def episode_to_json(
    episode: ScoredEpisode, environment: Environment, template: ChatTemplate | None = None
) -> dict[str, Any]:
    """One episode with its gold, its calls turn by turn, their verdicts and responses.

    turns[t][c]: name and arguments (or malformed: what was wrong), kind (observation),
    gold (index of the gold call played right, null if wrong), first_failure, response (text
    that the policy saw; recomputed, which is exact: an observation is a function of the
    call alone). outcome, failed_gold, failed_argument: `taxonomy.Failure`. messages, ids, mask:
    see rollout/transcript.py; left out without a template (a baseline has no tokens).
    """
    trace, rollout, failure = episode.trace, episode.rollout, episode.failure
    verdicts = walk(trace, rollout.records).gold
    played: list[list[dict[str, Any]]] = [[] for _ in range(rollout.num_turns)]
    for i, record in enumerate(rollout.records):
        played[record.turn].append(
            {
                **call_to_json(record),
                "kind": record.kind.value,
                "gold": verdicts[i],
                "first_failure": i == failure.record,
                "response": _response(record, trace, environment),
            }
        )
    return {
        "trace": trace.id,
        "workflow": trace.workflow,
        "query": trace.query,
        "tools": list(trace.tools),
        "gold": [
            {"name": gold.name, "arguments": gold.arguments, "turn": level}
            for gold, level in zip(trace.calls, turns(trace.calls), strict=True)
        ],
        "turns": played,
        "end": rollout.end.value,
        "outcome": failure.outcome.value,
        "failed_gold": failure.gold,
        "failed_argument": failure.argument,
        "metrics": {**dataclasses.asdict(episode.metrics), REWARD: episode.reward},
        "reward_terms": episode.terms,
        **({} if template is None else tokens_to_json(rollout, template)),
    }


def _response(record: CallRecord, trace: Trace, environment: Environment) -> str:
    return environment.show(record.call, environment.execute(record.call, trace.tools))


def write_episodes(
    path: str | os.PathLike[str],
    episodes: Iterable[ScoredEpisode],
    environment: Environment,
    template: ChatTemplate | None = None,
) -> None:
    """Writes one episode a line, whole or not at all."""
    path = pathlib.Path(path)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        for episode in episodes:
            file.write(orjson.dumps(episode_to_json(episode, environment, template)) + b"\n")
    partial.replace(path)


def read_episodes(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in pathlib.Path(path).read_bytes().splitlines()]
