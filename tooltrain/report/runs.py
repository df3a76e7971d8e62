"""What a workdir holds of a run: its metrics, configs and evaluations, as files tell it.

Read are, where they are there:

    WORKDIR/{sft,grpo}/{config.json, metrics.jsonl, alarms.jsonl}    `train.metrics`
    WORKDIR/eval/                                                    `eval.heldout`
    WORKDIR/eval/{complexfuncbench,bfcl}/<player>/summary.json
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tooltrain.errors import UserError
from tooltrain.eval.episodes import read_episodes

STAGES = {"sft": "SFT", "grpo": "GRPO"}
SPLITS = {
    "test": (
        "Held-out entities",
        "Workflows occur in training; no entity, response id or call does.",
    ),
    "test_workflows": (
        "Held-out workflows",
        "Neither the workflows nor the entities occur in training.",
    ),
}
MAIN_SPLIT = "test"  # what headlines, outcomes and examples are about


@dataclasses.dataclass(frozen=True)
class Run:
    """One workdir. A part that was not run is empty.

    metrics, alarms: lines by stage, in the order of steps. configs: by stage.
    policies: {stage: {"step", "splits": {split: summary}}}. baselines: {player: {"splits"}}.
    evaluation: run.json of the held-out evaluation. benchmarks: {"complexfuncbench" or "bfcl":
    {player: summary}}.
    """

    name: str
    path: pathlib.Path
    metrics: Mapping[str, Sequence[Mapping[str, float]]]
    alarms: Mapping[str, Sequence[Mapping[str, Any]]]
    configs: Mapping[str, Mapping[str, Any]]
    policies: Mapping[str, Any]
    baselines: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    benchmarks: Mapping[str, Mapping[str, Any]]

    @property
    def empty(self) -> bool:
        return not (any(self.metrics.values()) or self.policies or any(self.benchmarks.values()))

    def episodes(self, stage: str) -> list[dict[str, Any]]:
        """Held-out episodes of the main split; none if they are not there."""
        path = self.path / "eval" / f"{stage}_episodes_{MAIN_SPLIT}.jsonl"
        return read_episodes(path) if path.is_file() else []

    def settings(self) -> dict[str, Any]:
        """What its stages were given, by dotted name: of the last stage that has a field."""
        given: dict[str, Any] = {}
        for config in self.configs.values():
            data = config.get("data", {}).items()
            given |= {f"data.{name}": value for name, value in data if isinstance(value, str)}
            given |= _flat(config.get("config", {}))
        return given


def read_runs(workdirs: Sequence[pathlib.Path]) -> list[Run]:
    """The runs of `workdirs`, under names that tell them apart.

    Raises UserError for a workdir twice, one that holds nothing to report on, and a file that
    cannot be read.
    """
    paths = [workdir.resolve() for workdir in workdirs]
    if not paths or len(set(paths)) < len(paths):
        raise UserError(
            f"a report is about one workdir or several different ones, got {len(paths)}: "
            f"{', '.join(map(str, workdirs)) or 'none'}"
        )
    runs = [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    for run, workdir in zip(runs, workdirs, strict=True):
        if run.empty:
            raise UserError(
                f"{workdir} holds no metrics and no evaluation; run "
                f"`python -m tooltrain.cli.train_sft --workdir={workdir}` or "
                f"`python -m tooltrain.cli.evaluate --workdir={workdir}` first"
            )
    return runs


def _read(path: pathlib.Path, name: str) -> Run:
    evaluated = path / "eval"
    stages = {stage: evaluated / f"{stage}.json" for stage in STAGES}
    policies = {stage: _json(file) for stage, file in stages.items() if file.is_file()}
    return Run(
        name,
        path,
        metrics={stage: _lines(path / stage / "metrics.jsonl") for stage in STAGES},
        alarms={stage: _lines(path / stage / "alarms.jsonl") for stage in STAGES},
        configs={
            stage: _json(path / stage / "config.json")
            for stage in STAGES
            if (path / stage / "config.json").is_file()
        },
        policies=policies,
        baselines=_json(evaluated / "baselines.json") if policies else {},
        evaluation=_json(evaluated / "run.json") if policies else {},
        benchmarks={
            benchmark: {
                file.parent.name: _json(file)
                for file in sorted((evaluated / benchmark).glob("*/summary.json"))
            }
            for benchmark in ("complexfuncbench", "bfcl")
        },
    )


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); run the command again that wrote it") from (
            error
        )


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Lines of a file that a training run may be writing to: a last one that is cut is left."""
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise UserError(f"a line of {path} is no JSON ({error}); delete it") from error


def _names(paths: Sequence[pathlib.Path]) -> list[str]:
    """The shortest ends of the paths that differ from each other."""
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
