"""What the page tells of transfer between suites is what the results file holds."""

from __future__ import annotations

import json
import pathlib

from experiments.transfer import SUITES

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
