"""Evaluation of a workdir on its held-out traces: baselines, SFT, GRPO, and the report.

Writes WORKDIR/eval/ and WORKDIR/report.html:

    baselines.json                   {player: {"splits": ...}} (`eval.baselines`)
    sft.json, grpo.json              {"step", "splits": {split: `evaluate.summarize`}}
    <stage>_episodes_<split>.jsonl   every episode, turn by turn (`eval.episodes`)
    run.json                         GRPO minus SFT by split, commands, versions

A policy on the traces of another suite (`Other`) gets a directory like it of its own, so that
what is told of its own suite stays: WORKDIR/transfer/NAME/eval/ and report.html.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import platform
import re
import shlex
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.dataset import open_traces
from tooltrain.env.environment import Environment, open_environment
from tooltrain.errors import UserError
from tooltrain.eval.baselines import PLAYERS, play
from tooltrain.eval.episodes import write_episodes
from tooltrain.eval.evaluate import NAMES, ScoredEpisode, difference, score, summarize
from tooltrain.eval.trained_policy import TrainedPolicy
from tooltrain.report.page import write_report
from tooltrain.report.runs import MAIN_SPLIT, SPLITS, STAGES
from tooltrain.rollout.episode import prompt_of
from tooltrain.train.checkpoint import NEWEST, latest_step
from tooltrain.train.options import make_sampling
from tooltrain.types import Rollout, Trace

COMMANDS = ("record --source=complexfuncbench", "synthesize", "train_sft", "train_grpo", "evaluate")

Scored = dict[str, list[ScoredEpisode]]  # by split

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TRANSFER_NOTE = "Traces of a suite that the policy was not trained on: neither tools nor values."


@dataclasses.dataclass(frozen=True)
class Other:
    """Traces that a policy is evaluated on instead of its own. name: of the directory below
    WORKDIR/transfer. cache: the file they were made from. traces: their directory."""

    name: str
    cache: str
    traces: str

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            raise UserError(
                f"name is {self.name!r}: give letters, digits, '.', '_' and '-', a letter or digit "
                "first; it becomes a directory"
            )
        if not self.cache or not self.traces:
            raise UserError(
                f"other_cache is {self.cache!r} and other_traces {self.traces!r}: give both, the "
                "other suite's recorded responses and the traces that were made from them"
            )


def evaluate_workdir(
    config: ConfigDict,
    workdir: str,
    flags: Sequence[str] = (),
    other: Other | None = None,
    checkpoint: str = NEWEST,
) -> pathlib.Path:
    """Evaluates the newest checkpoints of WORKDIR/sft and /grpo; returns the report's path.

    other: evaluates on these traces; the policy keeps its own tokenizer and template, and its
    tools, responses and gold are the other suite's. checkpoint: which of GRPO's (`load_params`).

    config.eval: episodes of each test split (0: all), temperature (0: greedy), slots; the
    limits on turns and tokens are those of config.grpo. flags: of the command line, for the
    report. A workdir without GRPO is evaluated after SFT alone.

    Raises UserError for a missing cache, dataset or SFT checkpoint, a checkpoint of another
    policy, and traces that were not made from this cache (gold does not replay to 1).
    """
    # --- data -----------------------------------------------------------------------
    cache = config.cache or f"{workdir}/cache/{config.suite}.sqlite"
    traces_dir = config.traces or f"{workdir}/traces"
    written_to = workdir
    if other is not None:
        cache, traces_dir = other.cache, other.traces
        written_to = f"{workdir}/transfer/{other.name}"
    environment = open_environment(cache, **config.projection)
    splits = {}
    for split in SPLITS:
        try:
            traces = open_traces(traces_dir, split)
        except UserError:
            if split == MAIN_SPLIT:
                raise
            continue  # a small suite may have no workflow to spare
        wanted = config.eval.episodes or len(traces)
        splits[split] = traces[: min(wanted, len(traces))]

    # --- baselines ------------------------------------------------------------------
    sizes = ", ".join(f"{len(traces)} episodes of {split}" for split, traces in splits.items())
    print(f"{sizes}: {', '.join(PLAYERS)} ...", flush=True)
    baselines = {
        name: {
            split: score(traces, play(player, traces, environment))
            for split, traces in splits.items()
        }
        for name, player in PLAYERS.items()
    }
    _check_gold(baselines["gold"], environment)

    # --- policies -------------------------------------------------------------------
    policies: dict[str, Scored] = {}
    steps: dict[str, int] = {}
    for stage in STAGES:
        stage_dir = pathlib.Path(workdir) / stage
        if stage == "grpo" and latest_step(stage_dir) is None:
            print(f"{stage_dir} holds no checkpoint: the report is about SFT alone", flush=True)
            continue
        which = checkpoint if stage == "grpo" else NEWEST  # SFT's have no score
        policy = TrainedPolicy(config, workdir, stage, checkpoint=which)
        steps[stage] = policy.identity["step"]
        played = _play_policy(policy, config, splits, environment)
        policies[stage] = {split: score(traces, played[split]) for split, traces in splits.items()}

    # --- report ---------------------------------------------------------------------
    trained = ", ".join(f"{STAGES[stage]} step {step}" for stage, step in steps.items())
    temperature = config.eval.temperature
    decoding = "greedy" if temperature == 0 else f"temperature {temperature}"
    written = shlex.join(flags)
    # What the traces of another suite were made by is not known here.
    ran = COMMANDS if other is None else COMMANDS[-1:]
    device = jax.devices()[0]
    write_evaluation(
        written_to,
        baselines,
        policies,
        environment,
        steps=steps,
        seed=config.seed,
        run={
            "suite": config.suite if other is None else f"{config.suite} on {other.name}",
            "subtitle": f"{trained}; seed {config.seed}; {decoding}",
            "commands": [f"python -m tooltrain.cli.{name} {written}" for name in ran],
            **({} if other is None else {"note": _TRANSFER_NOTE}),
            "versions": f"cache {environment.cache.digest[:12]}, jax {jax.__version__}, Python "
            f"{platform.python_version()}, {jax.device_count()} x {device.device_kind}",
        },
        template=policy.template,
    )
    path = write_report([written_to])
    print(f"report: {path}", flush=True)
    return path


def write_evaluation(
    workdir: str,
    baselines: dict[str, Scored],
    policies: dict[str, Scored],
    environment: Environment,
    *,
    steps: dict[str, int],
    seed: int,
    run: dict[str, Any],
    template: ChatTemplate | None = None,
) -> None:
    """Writes WORKDIR/eval/ as the module says, and prints the headline numbers.

    baselines, policies: scored episodes by player and split. steps: of the checkpoints by
    stage. run: what run.json says beside the difference. template: of the policies' tokens,
    if they have any. What an earlier evaluation left of a stage or split that is not among
    `policies` is removed in the end.
    """
    directory = pathlib.Path(workdir) / "eval"
    directory.mkdir(parents=True, exist_ok=True)
    earlier = {*directory.glob("*.json"), *directory.glob("*_episodes_*.jsonl")}
    players = {**baselines, **policies}
    summaries = {
        name: {split: summarize(episodes, seed=seed) for split, episodes in scored.items()}
        for name, scored in players.items()
    }
    differences = {}
    if len(policies) == len(STAGES):
        before, after = policies.values()
        differences = {split: difference(before[split], after[split], seed=seed) for split in after}
    tables = {
        "baselines": {name: {"splits": summaries[name]} for name in baselines},
        **{stage: {"step": steps[stage], "splits": summaries[stage]} for stage in policies},
        "run": {**run, "difference": differences},
    }
    played = {
        directory / f"{stage}_episodes_{split}.jsonl": episodes
        for stage, scored in policies.items()
        for split, episodes in scored.items()
    }
    for path, episodes in played.items():
        write_episodes(path, episodes, environment, template)
    written = {directory / f"{name}.json": table for name, table in tables.items()}
    for path, table in written.items():
        _write_json(path, table)
    for stale in earlier - played.keys() - written.keys():
        stale.unlink()
    for name, summary in summaries.items():
        _print_scores(name, summary)


def _play_policy(
    policy: TrainedPolicy,
    config: ConfigDict,
    splits: dict[str, list[Trace]],
    environment: Environment,
) -> dict[str, list[Rollout]]:
    """One rollout of each trace, by split, sampled as config.eval says."""
    stage, step = policy.identity["player"], policy.identity["step"]
    sampling = make_sampling("eval", temperature=config.eval.temperature)
    played = {}
    for split, traces in splits.items():
        print(f"{stage} step {step}: {len(traces)} episodes of {split} ...", flush=True)
        prompts = [
            prompt_of(i, trace, policy.template, environment) for i, trace in enumerate(traces)
        ]
        played[split] = policy.rollouts(
            prompts,
            environment,
            sampling=sampling,
            seed=config.seed,
        )
    return played


def _check_gold(scored: Scored, environment: Environment) -> None:
    for split, episodes in scored.items():
        faulty = [name for name in NAMES if any(e.row()[name] != 1.0 for e in episodes)]
        if faulty:
            raise UserError(
                f"gold calls of {split} replayed in {environment.cache.path} do not score 1 in "
                f"{', '.join(faulty)}: the traces were made from another cache or by other code; "
                "run synthesize again on this cache"
            )


def _print_scores(name: str, splits: dict[str, Any]) -> None:
    for split, summary in splits.items():
        means = {key: summary["metrics"][key] for key in ("strict_turn_accuracy", "success")}
        text = ", ".join(
            f"{key.replace('_', ' ')} {100 * m['mean']:.1f} [{100 * m['low']:.1f}, "
            f"{100 * m['high']:.1f}]"
            for key, m in means.items()
        )
        print(f"{name:>13} on {split}: {text}", flush=True)


def _write_json(path: pathlib.Path, value: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
