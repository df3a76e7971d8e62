"""No strategy that a policy could find beats half of an honest partial solution."""

import pathlib

import pytest

from benchmarks.reward_strategies import HALF_OF, STRATEGIES, scores, strategy_table


@pytest.fixture(scope="module")
def table():
    return scores()


def test_there_are_at_least_25_dishonest_strategies_and_names_differ():
    assert sum(not strategy.honest for strategy in STRATEGIES) >= 25
    assert len({strategy.name for strategy in STRATEGIES}) == len(STRATEGIES)


def test_none_reaches_half_of_an_honest_partial_solution(table):
    honest, _ = table[HALF_OF]
    assert honest == pytest.approx(0.6, abs=1e-6)
    for strategy in STRATEGIES:
        reward, _ = table[strategy.name]
        assert 0.0 <= reward <= 1.0
        if not strategy.honest:
            assert reward < honest / 2, strategy.name


def test_only_gold_scores_one(table):
    perfect = [name for name, (reward, _) in table.items() if reward == 1.0]
    assert perfect == ["honest: gold", "honest: gold, one call a turn"]


def test_the_released_reward_pays_for_several_of_them(table):
    _, honest = table[HALF_OF]
    paid = [s.name for s in STRATEGIES if not s.honest and table[s.name][1] >= honest / 2]
    assert "first call and stops" in paid
    assert len(paid) >= 5


def test_the_documented_table_is_this_one():
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "reward.md"
    assert strategy_table() in page.read_text()
