"""Tables over runs: what stands in which row, and worked means."""

import json

import pytest

from tests.report.conftest import gold, nothing, write_stage, wrong_vehicle
from tooltrain.report import tables
from tooltrain.report.runs import read_runs


def rows(table):
    return {row.label: [cell.text for cell in row.cells] for row in table.rows}


def test_held_out_scores_of_a_run_its_gain_and_the_baselines(workdir):
    runs = read_runs([workdir(sft=wrong_vehicle, grpo=gold)])
    table = tables.heldout(runs, "test")
    found = rows(table)
    assert list(found) == ["SFT", "GRPO", "GRPO minus SFT", "random", "first look-up", "gold"]
    assert table.columns[0] == "strict turns"
    # Three chains stop at 2 of 3 turns, three trips at 1 of 2: 58.3 of 100.
    assert [found[name][0] for name in ("SFT", "GRPO", "GRPO minus SFT")] == [
        "58.3",
        "100.0",
        "+41.7",
    ]
    assert tables.heldout(runs, "test_workflows").rows[0].cells[0].text == "50.0"  # one trip


def test_runs_that_differ_in_the_seed_alone_have_a_mean_over_seeds(workdir):
    players = (wrong_vehicle, gold, nothing)
    paths = [workdir(f"seed{i}", sft=player) for i, player in enumerate(players)]
    for seed, path in enumerate(paths):
        write_stage(path, "sft", [{"step": 1, "loss": 1.0}], seed=seed, sft={"steps": 1})
    mean, *_ = tables.heldout(read_runs(paths), "test").rows
    assert mean.label == "SFT, mean of 3 seeds (least to most)"
    assert mean.cells[0] == tables.Cell("52.8", "0.0 to 100.0")  # (58.3 + 100 + 0) / 3
    write_stage(paths[2], "sft", [{"step": 1, "loss": 1.0}], seed=2, sft={"steps": 2})
    mean, *_ = tables.heldout(read_runs(paths), "test").rows
    assert "mean of 2 seeds" in mean.label
    write_stage(paths[1], "sft", [{"step": 1, "loss": 1.0}], seed=0, sft={"steps": 1})
    assert not any("mean of" in row.label for row in tables.heldout(read_runs(paths), "test").rows)


def test_baselines_that_scored_the_same_beside_all_runs_stand_once(workdir):
    paths = [workdir("a", sft=gold), workdir("b", sft=nothing)]
    assert [label for label in rows(tables.heldout(read_runs(paths), "test")) if "gold" in label]
    labels = list(rows(tables.heldout(read_runs(paths), "test")))
    assert labels == ["a · SFT", "b · SFT", "random", "first look-up", "gold"]
    file = paths[0] / "eval" / "baselines.json"
    changed = json.loads(file.read_text())
    changed["random"]["splits"]["test"]["metrics"]["success"]["mean"] = 0.5
    file.write_text(json.dumps(changed))
    labels = list(rows(tables.heldout(read_runs(paths), "test")))
    assert labels[2:5] == ["a · random", "a · first look-up", "a · gold"]


def test_outcomes_are_shares_of_episodes_and_what_never_happened_is_left_out(workdir):
    runs = read_runs([workdir(sft=wrong_vehicle, grpo=gold)])
    table = tables.outcomes(runs)
    assert table.columns == ["SFT", "GRPO"]
    # Trips and chains alike ask for a value that was not recorded.
    assert rows(table)["success"] == ["0.0", "100.0"]
    assert "malformed" not in rows(table)
    for i in range(2):
        assert sum(float(row.cells[i].text) for row in table.rows) == pytest.approx(100, abs=0.2)


def test_settings_are_those_that_differ_where_there_are_any(workdir):
    paths = [workdir("a", sft=gold), workdir("b", sft=gold)]
    write_stage(paths[0], "sft", [], seed=0, sft={"steps": 1, "decay": "linear"})
    write_stage(paths[1], "sft", [], seed=0, sft={"steps": 2, "decay": "linear"})
    write_stage(paths[1], "grpo", [], seed=0, grpo={"steps": 5})  # which the other has not
    found = rows(tables.differing_settings(read_runs(paths)))
    assert found == {"sft.steps": ["1", "2"], "evaluated": ["SFT step 1", "SFT step 1"]}
    assert tables.differing_settings(read_runs(paths[:1])) is None


def interval(mean):
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def benchmark(path, name, player, summary):
    directory = path / "eval" / name / player
    directory.mkdir(parents=True)
    (directory / "summary.json").write_text(json.dumps(summary))


def test_complexfuncbench_has_a_row_a_player(tmp_path):
    scores = {name: interval(0.5) for name in tables.COMPLEXFUNCBENCH}
    summary = {
        "samples": 40,
        "overall": {"samples": 40, **scores},
        "by_domain": {"Cross": {"samples": 40, **scores}},
        "by_turns": {"2": {"samples": 40, **scores}},
        "by_calls": {"3": {"samples": 40, **scores}},
        "outcomes": {"success": 30, "malformed": 10, "wrong order": 0},
    }
    for player, identity in (
        ("grpo", {"player": "grpo", "step": 3}),
        ("first_look_up", {"player": "first look-up"}),
    ):
        identity |= {"distractors": None, "view": "whole"}
        benchmark(tmp_path, "complexfuncbench", player, {"identity": identity, **summary})
    runs = read_runs([tmp_path])
    table = tables.complexfuncbench(runs)
    assert [(row.label, row.kind) for row in table.rows] == [
        ("first look up", "baseline"),
        ("GRPO", "policy"),
    ]
    assert table.rows[0].cells[:2] == [tables.Cell("40"), tables.Cell("50.0", "40.0 to 60.0")]
    assert rows(tables.complexfuncbench_groups(runs)["domain"]) == {"Cross": ["40", "50.0", "50.0"]}
    assert rows(tables.complexfuncbench_outcomes(runs)) == {
        "success": ["75.0", "75.0"],
        "malformed": ["25.0", "25.0"],
    }


def test_bfcl_has_a_row_a_category_and_a_gap_where_one_was_not_played(tmp_path):
    row = {"tests": 20, **interval(0.3)}
    for player, categories in (("a", ("multiple", "parallel")), ("b", ("multiple",))):
        summary = {"by_category": dict.fromkeys(categories, row), "errors": {"wrong_name": 5}}
        benchmark(tmp_path, "bfcl", player, {"identity": {}, **summary})
    runs = read_runs([tmp_path])
    assert rows(tables.bfcl(runs)) == {"multiple": ["30.0", "30.0"], "parallel": ["30.0", ""]}
    assert tables.bfcl(runs).rows[0].cells[0].small == "20.0 to 40.0; 20 tests"
    assert rows(tables.bfcl_errors(runs)) == {"wrong_name": ["12.5", "25.0"]}
