"""What a policy does in its episodes, beside what it scores, and what other rewards pay for it.

Read from the files that evaluation and GRPO leave (`eval.episodes`), so an arm that is done is
described without playing it again.
"""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tooltrain.calls.encoder import encode_calls, encode_gold
from tooltrain.data.dataset import open_traces
from tooltrain.eval.episodes import read_episodes
from tooltrain.report.runs import SPLITS, STAGES
from tooltrain.rewards.reference import reference
from tooltrain.rewards.reward import RewardFn, score_batch
from tooltrain.train.grpo import choose_reward
from tooltrain.types import Call, CallRecord, EndReason, MalformedCall, ObservationKind, Trace

Episode = Mapping[str, Any]
_BLOCK = 64  # episodes a call of the reward: one compiled shape


def observed(
    directory: pathlib.Path, traces_dir: pathlib.Path, config: ConfigDict, *, last_steps: int
) -> dict[str, Any]:
    """The `rates` of an arm's greedy held-out episodes by stage and split, each with the mean
    `reward` that the arm was trained on (config.grpo) and the `reference` reward; and the rates
    of the episodes that GRPO kept of its last steps ("last_steps"). What has no file is left out.
    """
    own = _chosen(config.grpo.reward, config.grpo.w_atomic, config.grpo.w_orchestration)
    rewards = {"reward": own, "reference": reference}
    found: dict[str, Any] = {}
    for stage in STAGES:
        for split in SPLITS:
            path = directory / "eval" / f"{stage}_episodes_{split}.jsonl"
            if not path.is_file():
                continue
            episodes, traces = read_episodes(path), _traces(traces_dir, split)
            played = [traces[episode["trace"]] for episode in episodes]
            paid = {name: mean_reward(fn, episodes, played) for name, fn in rewards.items()}
            found.setdefault(stage, {})[split] = {**rates(episodes), **paid}
    sampled = directory / "grpo" / "episodes.jsonl"
    if sampled.is_file() and (lines := read_episodes(sampled)):
        steps = sorted({line["step"] for line in lines})[-last_steps:]
        found["last_steps"] = rates([line for line in lines if line["step"] >= steps[0]])
    return found


def trained_tokens(directory: pathlib.Path) -> dict[str, int]:
    """By stage, the tokens that its steps were made of, as its metrics tell: of packed rows without
    their padding (SFT), of episodes with prompts and responses, whatever they taught (GRPO)."""
    found = {}
    for stage in STAGES:
        if not (directory / stage / "metrics.jsonl").is_file():
            continue
        given = json.loads((directory / stage / "config.json").read_text())["config"][stage]
        lines = [json.loads(x) for x in (directory / stage / "metrics.jsonl").open()]
        if stage == "sft":
            padding = np.mean([line["padding"] for line in lines if "padding" in line])
            a_step = given["batch_size"] * given["seq_len"] * (1 - padding)
        else:
            tokens = np.mean([line["episode_tokens"] for line in lines if "episode_tokens" in line])
            a_step = given["prompts_per_step"] * given["generations"] * tokens
        found[stage] = round(lines[-1]["step"] * a_step)
    return found


def rates(episodes: Sequence[Episode]) -> dict[str, float | int | None]:
    """How episodes compare with their gold; shares in [0, 1].

    repeats_skipped   of the gold calls beyond the first of their tool, those not made: a tool
                      with n gold calls that the policy called in c different ways leaves out
                      n - max(c, 1) of its n - 1; None where no tool repeats
    calls_over_gold   emitted calls / gold calls
    early_stops       episodes that finished with fewer calls than gold
    """
    repeated = skipped = 0
    for episode in episodes:
        different = {_way(call) for call in _calls(episode) if "name" in call}
        for tool, gold in _by_tool(episode["gold"]).items():
            made = sum(name == tool for name, _ in different)
            repeated += gold - 1
            skipped += max(gold - max(made, 1), 0)
    emitted = [len(list(_calls(episode))) for episode in episodes]
    gold_calls = [len(episode["gold"]) for episode in episodes]
    early = [
        episode["end"] == EndReason.FINISHED and made < wanted
        for episode, made, wanted in zip(episodes, emitted, gold_calls, strict=True)
    ]
    return {
        "episodes": len(episodes),
        "repeated_calls": repeated,
        "repeats_skipped": skipped / repeated if repeated else None,
        "calls_over_gold": sum(emitted) / sum(gold_calls),
        "early_stops": float(np.mean(early)),
    }


def mean_reward(reward: RewardFn, episodes: Sequence[Episode], traces: Sequence[Trace]) -> float:
    """What `reward` pays for written episodes on average, traces[i] being that of episodes[i]."""
    paid: list[float] = []
    for start in range(0, len(episodes), _BLOCK):
        some, gold = episodes[start : start + _BLOCK], traces[start : start + _BLOCK]
        idle = [()] * (_BLOCK - len(some))
        scores, _ = score_batch(
            reward,
            encode_calls([*map(records, some), *idle], num_calls=16, num_arguments=12),
            encode_gold([*(t.calls for t in gold), *idle], num_steps=8, num_arguments=12),
        )
        paid += np.asarray(scores)[: len(some)].tolist()
    return float(np.mean(paid))


def records(episode: Episode) -> tuple[CallRecord, ...]:
    """The calls of a written episode as they were recorded."""
    return tuple(
        CallRecord(
            MalformedCall("", call["malformed"])
            if "malformed" in call
            else Call(call["name"], call["arguments"]),
            turn,
            ObservationKind(call["kind"]),
        )
        for turn, calls in enumerate(episode["turns"])
        for call in calls
    )


@functools.cache  # the same function is compiled once
def _chosen(name: str, w_atomic: float, w_orchestration: float) -> RewardFn:
    weights = {"w_atomic": w_atomic, "w_orchestration": w_orchestration}
    return choose_reward(ConfigDict({"reward": name, **weights}))


@functools.cache
def _traces(directory: pathlib.Path, split: str) -> dict[str, Trace]:
    return {trace.id: trace for trace in open_traces(directory, split)}


def _calls(episode: Episode) -> Iterator[Mapping[str, Any]]:
    return (call for turn in episode["turns"] for call in turn)


def _way(call: Mapping[str, Any]) -> tuple[str, str]:
    return call["name"], json.dumps(call["arguments"], sort_keys=True)


def _by_tool(gold: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    names = [call["name"] for call in gold]
    return {name: names.count(name) for name in names}
