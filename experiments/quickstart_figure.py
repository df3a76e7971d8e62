"""Draws docs/quickstart.svg, the README's figure, from experiments/results/quickstart.json.

    python -m experiments.quickstart_figure

The results hold `seeds`, each with sft_strict_turn_accuracy and grpo_strict_turn_accuracy in
[0, 1], and may hold `baselines`, {name: strict turn accuracy}.
"""

import json
import pathlib

from tooltrain.report import figures

ROOT = pathlib.Path(__file__).resolve().parents[1]


def draw(results: pathlib.Path, figure: pathlib.Path) -> None:
    found = json.loads(results.read_text())
    figure.write_text(figures.quickstart(found["seeds"], found.get("baselines", {})) + "\n")


if __name__ == "__main__":
    draw(ROOT / "experiments" / "results" / "quickstart.json", ROOT / "docs" / "quickstart.svg")
