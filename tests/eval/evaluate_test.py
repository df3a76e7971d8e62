import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.eval.baselines import PLAYERS, play
from tooltrain.eval.evaluate import (
    METRICS,
    NAMES,
    bootstrap_interval,
    difference,
    score,
    summarize,
)
from tooltrain.eval.taxonomy import Outcome
from tooltrain.types import Call


def summarized(traces, rollouts, **options):
    return summarize(score(traces, rollouts), **options)


def test_gold_scores_exactly_one_in_every_metric_and_in_the_reward(environment, traces):
    summary = summarized(traces, play(PLAYERS["gold"], traces, environment))
    for name in NAMES:
        assert summary["metrics"][name] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert summary["outcomes"][Outcome.SUCCESS] == len(traces)


def test_counts_add_up(environment, traces):
    summary = summarized(traces, play(PLAYERS["first look-up"], traces, environment))
    assert summary["episodes"] == 6
    assert summary["calls"] == 18  # six traces of three calls
    assert summary["turns"] == 15  # three chains of 3 turns, three trips of 2
    assert summary["emitted_calls"] == 6
    assert sum(summary["outcomes"].values()) == 6
    for table in ("by_workflow", "by_depth", "by_num_calls"):
        assert sum(row["episodes"] for row in summary[table].values()) == 6


def test_tables_hold_the_means_of_their_groups(environment, traces):
    summary = summarized(traces, play(PLAYERS["first look-up"], traces, environment))
    # The first look-up completes turn 0 of a chain, and half of turn 0 of a trip.
    assert summary["by_workflow"]["find>rent>review"]["strict_turn_accuracy"] == pytest.approx(
        1 / 3
    )
    assert summary["by_workflow"]["find+find>rent"]["strict_turn_accuracy"] == 0.0
    assert summary["by_depth"]["3"] == summary["by_workflow"]["find>rent>review"]
    assert summary["metrics"]["strict_turn_accuracy"]["mean"] == pytest.approx(1 / 6)
    assert summary["metrics"]["call_accuracy"]["mean"] == pytest.approx(1 / 3)


def test_a_summary_is_json_and_the_same_each_time(environment, traces):
    rollouts = play(PLAYERS["random"], traces, environment)
    text = json.dumps(summarized(traces, rollouts, seed=3))
    assert text == json.dumps(summarized(traces, rollouts, seed=3))


def test_the_number_of_episodes_changes_no_score(environment, traces):
    rollouts = play(PLAYERS["random"], traces, environment)
    many = play(PLAYERS["random"], traces * 12, environment)  # 72 episodes, two blocks
    rows = [episode.row() for episode in score(traces, rollouts)]
    assert [episode.row() for episode in score(traces * 12, many)] == rows * 12


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_success_is_the_exact_reward(environment, traces, data):
    """The prefix walk and the jitted reward are two programs for one definition."""
    trace = traces[data.draw(st.integers(0, 1))]
    gold = [Call(call.name, call.arguments) for call in trace.calls]
    calls = st.sampled_from([*gold, Call("find", {"query": "Oslo"})])
    played = data.draw(
        st.one_of(
            st.permutations(gold).map(lambda order: [[call] for call in order]),
            st.lists(st.lists(calls, min_size=1, max_size=2), max_size=4),
        )
    )
    episode = score([trace], play(lambda *_: played, [trace], environment))[0]
    assert episode.metrics.success == episode.terms["exact"]
    assert (episode.reward == 1.0) == bool(episode.metrics.success)
    assert (episode.failure.outcome is Outcome.SUCCESS) == bool(episode.metrics.success)


def test_no_episodes_have_no_summary():
    with pytest.raises(ValueError, match="no episodes"):
        summarize([])


def test_the_interval_of_equal_numbers_is_a_point_and_of_others_holds_the_mean():
    rows = np.stack([np.full(50, 0.5), np.arange(50) % 2], axis=1)
    low, high = bootstrap_interval(rows, seed=1)
    assert (low[0], high[0]) == (0.5, 0.5)
    assert low[1] < 0.5 < high[1]
    # Normal theory: 0.5 -+ 1.96 * 0.5 / sqrt(50) = 0.361, 0.639
    np.testing.assert_allclose([low[1], high[1]], [0.361, 0.639], atol=0.03)


def test_the_paired_difference_of_a_player_with_itself_is_zero(environment, traces):
    gold = score(traces, play(PLAYERS["gold"], traces, environment))
    nothing = score(traces, play(lambda *_: [], traces, environment))
    assert difference(gold, gold)["success"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert {difference(nothing, gold)[name]["mean"] for name in METRICS} == {1.0}
    with pytest.raises(ValueError, match="same traces"):
        difference(gold, gold[1:])
