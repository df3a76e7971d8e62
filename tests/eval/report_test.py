"""The page of three kinds of player in the small world, and of hostile text."""

import html.parser
import json

import pytest

from tooltrain.errors import UserError
from tooltrain.eval.baselines import PLAYERS, gold_calls, play
from tooltrain.eval.episodes import read_episodes
from tooltrain.eval.evaluate import score
from tooltrain.eval.heldout import write_evaluation
from tooltrain.eval.report import render, write_report
from tooltrain.types import Call

RUN = {
    "suite": "cars",
    "subtitle": "SFT step 1",
    "commands": ["python -m tooltrain.cli.evaluate --workdir=x"],
    "versions": "jax",
}
HOSTILE = "<script>alert('x')</script>"


def wrong_vehicle(trace, environment):
    """Gold, but the last call carries another value."""
    *turns, last = gold_calls(trace, environment)
    name, argument = last[0].name, next(iter(last[0].arguments))
    return [*turns, [Call(name, {**last[0].arguments, argument: HOSTILE})]]


@pytest.fixture
def workdir(tmp_path, environment, traces):
    def scored(player):
        return {
            "test": score(traces, play(player, traces, environment)),
            "test_workflows": score(traces[:1], play(player, traces[:1], environment)),
        }

    def write(**policies):
        write_evaluation(
            str(tmp_path),
            {name: scored(player) for name, player in PLAYERS.items()},
            {stage: scored(player) for stage, player in policies.items()},
            environment,
            steps={"sft": 1, "grpo": 1},
            seed=0,
            run=RUN,
        )
        return tmp_path

    return write


class _Checker(html.parser.HTMLParser):
    """Collects tags, and that every opened one is closed."""

    VOID = frozenset({"meta", "br"})

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
    checker = parsed(render(workdir(sft=wrong_vehicle, grpo=PLAYERS["gold"])))
    assert all(link.startswith("#") for link in checker.links)
    assert not checker.tags & {"script", "link", "img", "iframe"}


def test_what_a_policy_wrote_is_text_on_the_page(workdir):
    page = render(workdir(sft=wrong_vehicle, grpo=wrong_vehicle))
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_the_first_wrong_value_is_marked_beside_the_right_one(workdir):
    page = render(workdir(sft=wrong_vehicle, grpo=PLAYERS["gold"]))
    assert "<mark>pick_up=" in page  # of the first trip
    assert "gold has pick_up=0" in page


def test_headlines_are_the_numbers_of_the_summaries(workdir):
    path = workdir(sft=wrong_vehicle, grpo=PLAYERS["gold"])
    # Three chains stop at 2 of 3 turns, three trips at 1 of 2: (3 * 2/3 + 3 * 1/2) / 6.
    sft = json.loads((path / "eval" / "sft.json").read_text())["splits"]["test"]["metrics"]
    assert sft["strict_turn_accuracy"]["mean"] == pytest.approx(0.5833, abs=1e-4)
    page = render(path)
    assert "58.3%" in page
    assert "+41.7 points" in page


def test_a_workdir_without_grpo_is_compared_with_the_best_baseline(workdir):
    page = render(workdir(sft=wrong_vehicle))
    assert "GRPO minus SFT" not in page
    assert "best trivial baseline (first look-up)" in page


def test_learning_curves_come_from_the_metrics_of_the_stages(workdir):
    path = workdir(sft=wrong_vehicle)
    assert "SFT: loss" not in render(path)
    (path / "sft").mkdir()
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}, {"step": 2, "eval/loss": 1.7}]
    (path / "sft" / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert "SFT: loss" in render(path)


def test_episodes_on_disk_say_turn_by_turn_what_happened(workdir, environment, traces):
    path = workdir(sft=wrong_vehicle, grpo=PLAYERS["gold"])
    trip, chain = read_episodes(path / "eval" / "sft_episodes_test.jsonl")[:2]
    assert [[call["gold"] for call in turn] for turn in trip["turns"]] == [[0, 1], [None], []]
    assert chain["outcome"] == "not recorded"
    assert (chain["failed_gold"], chain["failed_argument"]) == (2, "vehicle")
    assert chain["turns"][2][0]["first_failure"]
    gold = Call("find", chain["gold"][0]["arguments"])
    shown = environment.show(gold, environment.execute(gold))
    assert chain["turns"][0][0]["response"] == shown


def test_a_new_evaluation_leaves_nothing_of_the_last_one(workdir):
    workdir(sft=wrong_vehicle, grpo=PLAYERS["gold"])
    path = workdir(sft=wrong_vehicle)
    assert not list((path / "eval").glob("grpo*"))


def test_the_report_is_the_same_bytes_each_time(workdir):
    path = workdir(sft=wrong_vehicle, grpo=PLAYERS["gold"])
    assert write_report(path).read_bytes() == write_report(path).read_bytes()


def test_a_workdir_without_an_evaluation_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"run `python -m tooltrain\.cli\.evaluate"):
        render(tmp_path)


def test_a_policy_that_calls_nothing_is_shown_as_such(workdir):
    path = workdir(sft=lambda *_: [], grpo=PLAYERS["gold"])
    assert read_episodes(path / "eval" / "sft_episodes_test.jsonl")[0]["outcome"] == "stopped early"
    assert "no call" in render(path)
