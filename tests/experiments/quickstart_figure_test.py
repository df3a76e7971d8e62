import json
import xml.etree.ElementTree as ElementTree

from experiments.quickstart_figure import draw


def test_the_figure_is_drawn_from_the_results(tmp_path):
    seeds = [{"sft_strict_turn_accuracy": 0.4, "grpo_strict_turn_accuracy": 0.5}] * 3
    results, figure = tmp_path / "quickstart.json", tmp_path / "quickstart.svg"
    results.write_text(json.dumps({"seeds": seeds, "baselines": {"first look-up": 0.1}}))
    draw(results, figure)
    shown = [e.text for e in ElementTree.parse(figure).iter() if e.tag.endswith("text")]
    assert {"40.0", "50.0", "first look-up", "held-out traces, mean of 3 seeds"} <= set(shown)
    assert figure.stat().st_size < 100_000
