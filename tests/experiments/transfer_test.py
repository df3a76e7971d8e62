"""What the page tells of transfer between suites is what the results file holds."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from experiments.transfer import SUITES
from tests.train.conftest import recorded_workdir  # noqa: F401  a fixture

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = json.loads((ROOT / "experiments" / "results" / "transfer.json").read_text())
PAGE = (ROOT / "docs" / "evaluation.md").read_text()


def cell(metric: dict[str, float]) -> str:
    mean, low, high = (f"{100 * metric[key]:.1f}" for key in ("mean", "low", "high"))
    return mean if mean == low == high else f"{mean} [{low}, {high}]"


def test_the_page_says_what_the_results_file_says():
    for played in SUITES:
        for trained in SUITES:
            found = RESULTS["results"][trained][played]
            scores = found["players"]["sft"]["test"]
            row = f"| {played} ({found['episodes']['test']}) | {trained}, step {found['step']} |"
            cells = (scores[name] for name in ("strict_turn_accuracy", "call_accuracy", "success"))
            assert f"{row} {' | '.join(map(cell, cells))} |" in PAGE
        baseline = RESULTS["results"]["booking"][played]["players"]["first look-up"]["test"]
        assert f"first look-up | {cell(baseline['strict_turn_accuracy'])} |" in PAGE


def test_both_policies_played_the_same_traces_and_gold_is_all_there():
    for played in SUITES:
        both = [RESULTS["results"][trained][played] for trained in SUITES]
        assert both[0]["episodes"] == both[1]["episodes"]
        for name in ("gold", "first look-up", "random"):
            assert both[0]["players"][name] == both[1]["players"][name]
        gold = both[0]["players"]["gold"]
        assert {m["mean"] for split in gold.values() for m in split.values()} == {1.0}


@pytest.mark.experiment
@pytest.mark.slow
def test_the_experiment_runs_and_trains_no_more_when_it_is_done(
    recorded_workdir,  # noqa: F811
    compiled,
    run_python,
    tmp_path,
):
    for suite in SUITES:  # one small world under both names
        shutil.copytree(recorded_workdir / "traces", tmp_path / suite / "traces")
        (tmp_path / suite / "cache").mkdir()
        cache = tmp_path / suite / "cache" / f"{suite}.sqlite"
        shutil.copy(recorded_workdir / "cache" / "weather.sqlite", cache)
        (tmp_path / suite / "compiled").symlink_to(compiled)
    small = {
        "sft": {"steps": 2, "warmup_steps": 1, "copy_warmup_examples": 0, "batch_size": 4},
        "policy": {"num_layers": 1, "d_model": 32, "d_ff": 64, "head_dim": 16},
        "grpo": {"max_len": 256, "max_turns": 3, "max_turn_tokens": 32},
        "eval": {"episodes": 2},
    }
    results = tmp_path / "results.json"
    command = [
        *("-m", "experiments.transfer", f"--workdir={tmp_path}"),
        f"--results={results}",
        *(f"--config.{a}.{b}={value}" for a in small for b, value in small[a].items()),
    ]
    assert run_python(*command).count("tooltrain.cli.train_sft") == 2
    table = json.loads(results.read_text())
    assert table["results"].keys() == table["trained"].keys() == SUITES.keys()
    for trained in SUITES:
        assert table["trained"][trained]["step"] == 2
        for played in SUITES:
            found = table["results"][trained][played]
            assert found["step"] == 2
            assert found["episodes"]["test"] == 2
            assert found["players"]["gold"]["test"]["success"]["mean"] == 1.0
    # What is done is read, not done again.
    assert "tooltrain.cli" not in run_python(*command)
    assert json.loads(results.read_text())["results"] == table["results"]
