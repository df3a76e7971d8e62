import xml.etree.ElementTree as ElementTree

from tooltrain.eval import figures

CURVES = {"atomic": ([1, 2, 3], [0.1, 0.2, 0.4]), "exact": ([1, 2, 3], [0.0, 0.0, 0.1])}
OUTCOMES = {"SFT": {"success": 3, "malformed": 7}, "GRPO": {"success": 10, "malformed": 0}}
SEEDS = [
    {"sft_strict_turn_accuracy": 0.40, "grpo_strict_turn_accuracy": 0.50},
    {"sft_strict_turn_accuracy": 0.44, "grpo_strict_turn_accuracy": 0.52},
]


def all_figures():
    return (
        figures.curves("terms", CURVES),
        figures.outcome_bars(OUTCOMES, {"SFT": 10, "GRPO": 10}),
        figures.quickstart(SEEDS, {"first look-up": 0.35}),
    )


def texts(svg):
    return [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


def test_figures_are_whole_svg_elements_of_a_readable_size():
    for svg in all_figures():
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert len(svg) < 100_000


def test_figures_load_nothing_from_elsewhere():
    for svg in all_figures():
        assert "http" not in svg.replace("http://www.w3.org/", "")


def test_the_same_numbers_give_the_same_bytes():
    assert all_figures() == all_figures()


def test_figures_in_a_page_take_the_ink_of_its_text():
    curve, bars, standalone = all_figures()
    assert "currentColor" in curve
    assert "currentColor" in bars
    assert "currentColor" not in standalone  # a file has no page to take it from


def test_curves_are_named():
    assert {"atomic", "exact", "terms", "step"} <= set(texts(figures.curves("terms", CURVES)))


def test_bars_show_shares_of_episodes_and_leave_out_what_never_happened():
    shown = texts(
        figures.outcome_bars(
            OUTCOMES | {"GRPO": {"success": 10, "malformed": 0}}, {"SFT": 10, "GRPO": 20}
        )
    )
    assert {"success", "malformed", "30", "70", "50"} <= set(shown)
    without = {"SFT": {"success": 3, "malformed": 0}}
    assert "malformed" not in texts(figures.outcome_bars(without, {"SFT": 3}))


def test_the_quickstart_figure_shows_the_means_in_percent():
    shown = texts(figures.quickstart(SEEDS, {"first look-up": 0.35}))
    assert {"42.0", "51.0", "first look-up"} <= set(shown)
