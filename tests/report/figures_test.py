import xml.etree.ElementTree as ElementTree

from tooltrain.report import figures

CURVES = [
    figures.Line([1, 2, 3], [0.1, 0.2, 0.4], figures.COLORS[0], "atomic"),
    figures.Line([1, 2, 3], [0.0, 0.0, 0.1], figures.COLORS[1], "exact"),
]
SEEDS = [
    {"sft_strict_turn_accuracy": 0.40, "grpo_strict_turn_accuracy": 0.50},
    {"sft_strict_turn_accuracy": 0.44, "grpo_strict_turn_accuracy": 0.52},
]


def all_figures():
    return (
        figures.curves("terms", CURVES),
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
    curve, standalone = all_figures()
    assert "currentColor" in curve
    assert "currentColor" not in standalone  # a file has no page to take it from


def test_curves_with_a_label_are_named_and_others_leave_it_to_the_page():
    assert {"atomic", "exact", "terms", "step"} <= set(texts(figures.curves("terms", CURVES)))
    unnamed = figures.curves("terms", [line._replace(label="") for line in CURVES])
    assert "atomic" not in texts(unnamed)
    assert figures.COLORS[1] in unnamed


def test_a_dashed_curve_is_drawn_dashed():
    solid, dashed = (
        figures.curves("x", [CURVES[0]._replace(dashed=dashed)]) for dashed in (False, True)
    )
    assert "stroke-dasharray" not in solid
    assert "stroke-dasharray" in dashed


def test_the_quickstart_figure_shows_the_means_in_percent():
    shown = texts(figures.quickstart(SEEDS, {"first look-up": 0.35}))
    assert {"42.0", "51.0", "first look-up"} <= set(shown)
