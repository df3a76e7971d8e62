import json

from tooltrain.train.alarms import WINDOW, Alarms
from tooltrain.train.metrics import MetricsWriter


def raised(lines) -> list[tuple[int, str]]:
    """(line, alarm) of what was raised."""
    alarms = Alarms()
    return [(i, name) for i, line in enumerate(lines) for name in alarms.see(line)]


def test_a_steady_run_raises_nothing():
    steps = [{"entropy": 0.5, "no_call_share": 0.1, "reward": 0.01 * i} for i in range(50)]
    steps[20:20] = [{"eval/strict_turn_accuracy": 0.5}]
    steps += [{"eval/strict_turn_accuracy": 0.6}]
    assert raised(steps) == []


def test_entropy_that_collapses_is_told_once_until_it_recovers():
    levels = [1.0] * WINDOW + [0.01] * 2 * WINDOW + [1.0] * WINDOW + [0.01] * WINDOW
    found = raised([{"entropy": level} for level in levels])
    assert [name for _, name in found] == ["entropy_collapse"] * 2
    # The mean of the last ten falls under a tenth once all ten are low.
    assert [i for i, _ in found] == [2 * WINDOW - 1, 5 * WINDOW - 1]


def test_episodes_without_calls_are_told():
    lines = [{"no_call_share": 0.4}] * WINDOW + [{"no_call_share": 0.8}] * WINDOW
    assert raised(lines) == [(WINDOW + 2, "empty_completions")]  # 7 x 0.4 + 3 x 0.8 > 5


def test_a_reward_that_rises_while_accuracy_falls_is_told():
    def run(reward, accuracy):
        return [{"reward": reward}] * WINDOW + [{"eval/strict_turn_accuracy": accuracy}]

    assert raised(run(0.5, 0.6) + run(0.7, 0.5)) == [(2 * WINDOW + 1, "reward_not_accuracy")]
    assert raised(run(0.5, 0.6) + run(0.7, 0.58)) == []  # within the noise of an evaluation
    assert raised(run(0.5, 0.6) + run(0.4, 0.5)) == []  # both fall: seen in the reward


def test_alarms_are_written_and_a_resumed_run_does_not_repeat_them(tmp_path, capsys):
    def run(resumed, steps):
        with MetricsWriter(
            tmp_path,
            "grpo",
            resumed_step=resumed,
            total_steps=40,
            log_every_steps=1,
            show=(),
        ) as writer:
            for step in steps:
                writer.step(step, {"no_call_share": 0.9})

    run(None, range(1, 16))
    first = (tmp_path / "alarms.jsonl").read_text()
    assert [json.loads(line)["step"] for line in first.splitlines()] == [WINDOW]
    assert "empty_completions at step 10: 90% of the episodes" in capsys.readouterr().err
    run(12, range(13, 41))
    assert (tmp_path / "alarms.jsonl").read_text() == first
