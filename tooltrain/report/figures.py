"""Figures as SVG text that follows the page: lines in mid tones, ink in the text's colour.

Drawn without pyplot, so there is no global state and no display; the same numbers give
the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Readable on white and on near-black alike, and apart for the colour-blind.
SFT, GRPO, OTHER = "#3d85c6", "#d9822b", "#8c8c8c"
COLORS = ("#3d85c6", "#d9822b", "#4c9f70", "#b05fa8", "#8c8c8c", "#c65353", "#9a8322")
_INK = "#010203"  # replaced by currentColor where the figure lives in a page
_PAGE_INK, _FILE_INK = "currentColor", "#808080"


class Line(NamedTuple):
    """A curve over steps. label: "" where the page says whose it is."""

    steps: Sequence[float]
    values: Sequence[float]
    color: str
    label: str = ""
    dashed: bool = False


class Row(NamedTuple):
    """Values of one arm, one a seed, and the interval of their mean (None: no interval)."""

    values: Sequence[float]
    interval: tuple[float, float] | None = None


class Panel(NamedTuple):
    """title: with the unit. rows: by arm and stage; what was not measured is left out."""

    title: str
    rows: Mapping[str, Mapping[str, Row]]


def curves(title: str, lines: Sequence[Line]) -> str:
    """Curves over steps, with a legend of those that have a label."""
    named = any(line.label for line in lines)
    figure = Figure(figsize=(4.4, 3.0 if named else 2.6), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        axes.plot(
            line.steps,
            line.values,
            color=line.color,
            label=line.label,
            linewidth=1.4,
            linestyle="--" if line.dashed else "-",
            marker="." if len(line.steps) < 20 else "",
        )
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if named:  # below the axes: inside it would hide a part of some curve
        figure.legend(
            loc="outside lower center", ncols=3, frameon=False, labelcolor=_INK, fontsize=8
        )
    _quiet(axes)
    return _svg(figure, _PAGE_INK)


def quickstart(seeds: Sequence[Mapping[str, float]], baselines: Mapping[str, float]) -> str:
    """The README's figure: strict turn accuracy before and after GRPO, a line a seed.

    seeds: each with sft_strict_turn_accuracy and grpo_strict_turn_accuracy in [0, 1].
    baselines: {name: strict turn accuracy}, drawn as level lines. A standalone SVG file in
    one grey that reads on light and dark pages.
    """
    before = [100 * seed["sft_strict_turn_accuracy"] for seed in seeds]
    after = [100 * seed["grpo_strict_turn_accuracy"] for seed in seeds]
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for low, high in zip(before, after, strict=True):
        axes.plot([0, 1], [low, high], color=OTHER, linewidth=1, zorder=1)
    axes.scatter([0] * len(before), before, color=SFT, s=36, zorder=2)
    axes.scatter([1] * len(after), after, color=GRPO, s=36, zorder=2)
    for x, values, offset, side in ((0, before, -0.06, "right"), (1, after, 0.06, "left")):
        mean = sum(values) / len(values)
        axes.annotate(
            f"{mean:.1f}", (x + offset, mean), ha=side, va="center", fontsize=13, weight="bold"
        )
    for name, value in baselines.items():
        axes.axhline(100 * value, color=OTHER, linewidth=0.8, linestyle=":")
        axes.annotate(name, (1.38, 100 * value), ha="right", va="bottom", fontsize=8)
    axes.set_xticks([0, 1], ["after SFT", "after GRPO"])
    axes.set_xlim(-0.4, 1.4)
    axes.set_ylim(0, max(100 * max(baselines.values(), default=0), *after, *before) * 1.15)
    axes.set_ylabel("strict turn accuracy, %")
    axes.set_title(f"held-out traces, mean of {len(seeds)} seeds")
    _quiet(axes)
    return _svg(figure, _FILE_INK)


def arms(names: Sequence[str], panels: Sequence[Panel]) -> str:
    """Arms from top to bottom, a panel beside the other: each seed a dot, above each other the
    stages, their means as bars with the intervals. A standalone SVG file, as `quickstart`."""
    stages = list(dict.fromkeys(s for p in panels for rows in p.rows.values() for s in rows))
    figure = Figure(
        figsize=(1.6 + 2.9 * len(panels), 1.3 + 0.52 * len(names)), layout="constrained"
    )
    axes_of = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for panel, axes in zip(panels, axes_of, strict=True):
        for y, name in enumerate(names):
            for stage, row in panel.rows.get(name, {}).items():
                color = COLORS[stages.index(stage)]
                at = y + 0.34 * (stages.index(stage) - (len(stages) - 1) / 2)
                mean = sum(row.values) / len(row.values)
                if row.interval is not None:
                    axes.plot(row.interval, [at, at], color=color, linewidth=1.6, zorder=1)
                axes.scatter([mean], [at], color=color, marker="|", s=110, linewidth=2.2, zorder=3)
                axes.scatter(row.values, [at] * len(row.values), color=color, s=14, zorder=2)
                axes.annotate(
                    f"{mean:.1f}",
                    (1.02, at),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    fontsize=7,
                )
        axes.set_title(panel.title)
        axes.set_ylim(len(names) - 0.5, -0.5)
        _quiet(axes)
    axes_of[0].set_yticks(range(len(names)), names)
    handles = [
        axes_of[0].scatter([], [], color=COLORS[i], s=14, label=f"after {stage}")
        for i, stage in enumerate(stages)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        labelcolor=_INK,
        fontsize=8,
    )
    return _svg(figure, _FILE_INK)


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", alpha=0.15, color=_INK, linewidth=0.6)
    axes.set_axisbelow(True)


def _svg(figure: Figure, ink: str) -> str:
    style = {
        "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
        "svg.hashsalt": "tooltrain",  # ids by content, not by chance
    }
    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(colors=_INK, labelsize=8)
        axes.title.set(color=_INK, fontsize=10)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=_INK, fontsize=8)
        for text in axes.texts:
            text.set_color(_INK)
        for spine in axes.spines.values():
            spine.set_edgecolor(_INK)
    buffer = io.StringIO()
    with matplotlib.rc_context(style):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, ink)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)  # names web sites
    # Fixed points become a maximum, so that a phone can shrink it.
    return re.sub(
        r'<svg ([^>]*?)width="([\d.]+)pt"([^>]*?)height="[\d.]+pt"',
        r'<svg \1\3width="100%" style="max-width: \2pt"' if ink == _PAGE_INK else r"\g<0>",
        svg,
        count=1,
    )
