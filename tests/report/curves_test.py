"""Which curves are drawn of which lines."""

import math
import xml.etree.ElementTree as ElementTree

from tests.report.conftest import write_stage
from tooltrain.report import curves
from tooltrain.report.runs import read_runs

LINES = [
    {"step": 1, "reward": 0.1, "reward/atomic": 0.1, "reward/exact": 0.2, "kl": 0.0},
    {"step": 1, "eval/strict_turn_accuracy": 0.3},
    {"step": 2, "reward": math.nan, "reward/atomic": 0.2, "reward/exact": 0.3, "kl": 0.0},
]


def titles(runs):
    """Title of each figure -> all its texts."""
    found = {}
    for svg in curves.drawn(runs, (*curves.CHARTS, *curves.MORE_CHARTS)):
        texts = [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]
        title = next(text for text in texts if text and text.startswith(("SFT:", "GRPO:")))
        found[title] = texts
    return found


def test_curves_of_one_run_share_a_chart_and_zeros_are_left_out(tmp_path):
    write_stage(tmp_path, "grpo", LINES)
    found = titles(read_runs([tmp_path]))
    assert set(found) == {
        "GRPO: reward",
        "GRPO: terms of the reward",
        "GRPO: strict turn accuracy",
    }
    assert {"atomic", "exact"} <= set(found["GRPO: terms of the reward"])


def test_of_several_runs_each_metric_has_its_chart(tmp_path):
    for name in "ab":
        write_stage(tmp_path / name, "grpo", LINES)
    runs = read_runs([tmp_path / "a", tmp_path / "b"])
    found = titles(runs)
    assert {"GRPO: terms of the reward, atomic", "GRPO: terms of the reward, exact"} <= set(found)
    assert list(curves.colors(runs)) == ["a", "b"]
    assert len(set(curves.colors(runs).values())) == 2


def test_a_line_that_is_being_written_is_left_for_later(tmp_path):
    write_stage(tmp_path, "sft", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    with (tmp_path / "sft" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert [line["step"] for line in read_runs([tmp_path])[0].metrics["sft"]] == [1, 2]


def test_a_long_run_is_drawn_as_means_of_equal_parts(tmp_path):
    write_stage(tmp_path, "sft", [{"step": i, "loss": float(i % 2)} for i in range(4000)])
    steps, values = curves.points(read_runs([tmp_path])[0], "sft", "loss")
    assert len(steps) == 400
    assert steps[:2] == [4.5, 14.5]
    assert set(values) == {0.5}
