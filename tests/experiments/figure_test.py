import json
import xml.etree.ElementTree as ElementTree

from experiments import figure


def seen(reward):
    rates = {"repeats_skipped": 0.25, "calls_over_gold": 0.9, "early_stops": 0.05}
    return {"test": {"reward": reward, **rates}}


RESULTS = {
    "arms": {"matched": {}, "sft alone": {"grpo.steps": 0}},
    "compared_with": "matched",
    "results": {
        "matched": [
            {"seed": s, "sft_strict_turn_accuracy": 0.4, "grpo_strict_turn_accuracy": after}
            for s, after in enumerate((0.3, 0.4, 0.5))
        ],
        "sft alone": [{"seed": 0, "sft_strict_turn_accuracy": 0.45}],
    },
    "behaviour": {
        "matched": [
            {"seed": s, "sft": seen(0.6), "grpo": seen(0.8), "tokens": {"sft": 2e6, "grpo": 1e6}}
            for s in range(3)
        ],
        "sft alone": [{"seed": 0, "tokens": {}}],
    },
    "summary": {
        "matched": {"seeds": 3, "mean": 0.4, "difference": 0.0, "interval": [0.0, 0.0]},
        "sft alone": {"seeds": 1, "mean": 0.45, "difference": 0.05, "interval": None},
    },
}


def test_the_table_has_means_with_intervals_and_leaves_out_what_was_not_measured():
    header, _, matched, alone = figure.table(RESULTS).splitlines()
    assert header.startswith("| arm | seeds | strict turn accuracy after SFT |")
    # 30, 40, 50: mean 40, sample std 10, half width 4.303 x 10 / sqrt(3) = 24.8.
    assert matched == (
        "| matched | 3 | 40.0 (40.0 to 40.0) | 40.0 (15.2 to 64.8) |  | 60.0 (60.0 to 60.0) "
        "| 80.0 (80.0 to 80.0) | 25.0 (25.0 to 25.0) | 90.0 (90.0 to 90.0) | 5.0 (5.0 to 5.0) "
        "| 3.00 |"
    )
    assert alone == "| sft alone | 1 | 45.0 |  | +5.0 |  |  |  |  |  |  |"


def test_the_figure_shows_accuracy_beside_the_reward_of_every_arm(tmp_path):
    results = tmp_path / "rewards.json"
    results.write_text(json.dumps(RESULTS))
    figure.draw(results)
    drawn = ElementTree.parse(tmp_path / "rewards.svg")
    shown = [e.text for e in drawn.iter() if e.tag.endswith("text")]
    wanted = {*RESULTS["arms"], "strict turn accuracy, %", "its own reward, %", "after SFT"}
    assert wanted | {"after GRPO", "40.0", "45.0", "80.0"} <= set(shown)
    assert (tmp_path / "rewards.md").read_text() == figure.table(RESULTS)
