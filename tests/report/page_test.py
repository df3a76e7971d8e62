"""The page of several kinds of player in the small world, and of hostile text."""

import html.parser
import json

import pytest

from tests.report.conftest import HOSTILE, gold, nothing, write_stage, wrong_vehicle
from tooltrain.errors import UserError
from tooltrain.eval.episodes import read_episodes
from tooltrain.report.page import render, write_report


class _Checker(html.parser.HTMLParser):
    """Collects tags, and that every opened one is closed."""

    VOID = frozenset({"meta", "br", "wbr"})

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_the_page_is_well_formed_and_needs_nothing_else(workdir):
    paths = [workdir("a", sft=wrong_vehicle, grpo=gold), workdir("b", sft=nothing)]
    for path in paths:
        write_stage(path, "sft", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], seed=1)
    for shown in (paths[:1], paths):
        checker = parsed(render(shown))
        assert all(link.startswith("#") for link in checker.links)
        assert not checker.tags & {"script", "link", "img", "iframe"}


def test_what_a_policy_wrote_is_text_on_the_page(workdir):
    page = render([workdir(sft=wrong_vehicle, grpo=wrong_vehicle)])
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("name", ["<b>bold", "$x^$", "_hidden"])
def test_a_name_of_a_run_is_text_on_the_page_and_in_figures(workdir, name):
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    paths = [workdir(name, sft=gold), workdir("other", sft=gold)]
    for path in paths:
        write_stage(path, "sft", lines)
    page = render(paths)
    parsed(page)
    assert "<b>bold" not in page
    assert name.replace("<", "&lt;").replace(">", "&gt;") in page


def test_the_first_wrong_value_is_marked_beside_the_right_one(workdir):
    page = render([workdir(sft=wrong_vehicle, grpo=gold)])
    assert '<mark class="">pick_up=' in page  # of the first trip
    assert '<mark class="wanted">pick_up=0</mark>' in page
    assert "gold has pick_up=0" in page


def test_headlines_are_the_numbers_of_the_summaries(workdir):
    path = workdir(sft=wrong_vehicle, grpo=gold)
    # Three chains stop at 2 of 3 turns, three trips at 1 of 2: (3 * 2/3 + 3 * 1/2) / 6.
    sft = json.loads((path / "eval" / "sft.json").read_text())["splits"]["test"]["metrics"]
    assert sft["strict_turn_accuracy"]["mean"] == pytest.approx(0.5833, abs=1e-4)
    page = render([path])
    assert "58.3%" in page
    assert "+41.7 points" in page


def test_a_workdir_without_grpo_is_compared_with_the_best_baseline(workdir):
    page = render([workdir(sft=wrong_vehicle)])
    assert "GRPO minus SFT" not in page
    assert "best trivial baseline (first look-up)" in page


def test_runs_are_named_by_what_their_paths_differ_in(workdir):
    page = render([workdir("a", sft=gold), workdir("b", sft=nothing)])
    assert "a · SFT" in page
    assert "b · SFT" in page
    assert "Right with a · SFT" not in page  # kinds are named from the last run's side
    assert "Wrong with b · SFT, right with a · SFT" in page


def test_a_run_that_is_training_has_curves_and_no_tables(tmp_path):
    write_stage(tmp_path, "sft", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}])
    page = render([tmp_path])
    assert "SFT: loss" in page
    assert "Held-out" not in page
    assert "Episodes, turn by turn" not in page


def test_what_training_warned_of_is_told(tmp_path):
    write_stage(tmp_path, "grpo", [{"step": 1, "reward": 0.2}])
    line = {"step": 7, "alarm": "entropy collapse", "message": f"look at {HOSTILE}"}
    (tmp_path / "grpo" / "alarms.jsonl").write_text(json.dumps(line) + "\n")
    page = render([tmp_path])
    assert "GRPO, step 7: entropy collapse" in page
    assert HOSTILE not in page


def test_the_report_is_the_same_bytes_each_time(workdir):
    path = workdir(sft=wrong_vehicle, grpo=gold)
    assert write_report([path]).read_bytes() == write_report([path]).read_bytes()
    assert write_report([path]) == path / "report.html"


def test_a_page_of_several_runs_is_written_where_it_is_asked_for(workdir, tmp_path):
    paths = [workdir("a", sft=gold), workdir("b", sft=gold)]
    wanted = tmp_path / "new" / "both.html"
    assert write_report(paths, wanted) == wanted
    assert "2 runs" in wanted.read_text()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "one workdir or several different ones, got 0"),
        (["here", "here"], "got 2"),
        (["here"], r"run `python -m tooltrain\.cli\.train_sft"),
    ],
)
def test_what_cannot_be_compared_is_a_clear_error(names, message, tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(UserError, match=message):
        render([tmp_path / name for name in names])


def test_a_file_that_is_damaged_is_named(workdir):
    path = workdir(sft=gold)
    (path / "eval" / "baselines.json").write_text("{")
    with pytest.raises(UserError, match=r"baselines\.json .* run the command again"):
        render([path])


def test_a_policy_that_calls_nothing_is_shown_as_such(workdir):
    path = workdir(sft=nothing, grpo=gold)
    assert read_episodes(path / "eval" / "sft_episodes_test.jsonl")[0]["outcome"] == "stopped early"
    assert "no call" in render([path])
