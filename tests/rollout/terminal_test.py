"""What `show` prints: turns, masks, verdicts, and nothing that a terminal would obey."""

import json
import subprocess
import sys

import pytest

from tooltrain.cli.show import show
from tooltrain.errors import UserError
from tooltrain.rollout.terminal import episode_lines

EPISODE = {
    "step": 3,
    "trace": "t7",
    "query": "Weather?",
    "end": "finished",
    "turns": [
        [
            {"name": "find_place", "arguments": {"name": "Rome"}, "kind": "ok", "gold": 0},
            {"malformed": "bad_json: no", "kind": "malformed", "gold": None, "first_failure": True},
        ],
        [],
    ],
    "messages": [
        {"author": "prompt", "text": "<|im_start|>user\nWeather?"},
        {"author": "policy", "text": "<tool_call>\n{}\x1b[2J<|im_end|>"},
        {"author": "environment", "text": "11"},
        {"author": "policy", "text": "Done.<|im_end|>"},
    ],
    "ids": [1, 2, 3, 4, 5],
    "mask": [0, 1, 1, 0, 1],
    "reward_terms": {"atomic": 0.123456},
}


def test_an_episode_is_shown_turn_by_turn_with_its_mask_at_the_edge():
    assert list(episode_lines(EPISODE, color=False)) == [
        "step 3 · trace t7 · 2 turns · 5 tokens, 3 sampled · ended: finished",
        "query: Weather?",
        "reward_terms: atomic 0.1235",
        "  <|im_start|>user",
        "  Weather?",
        "turn 1",
        "+ <tool_call>",
        "+ {}\\x1b[2J<|im_end|>",
        "  -> find_place: ok, gold call 0",
        "  -> malformed call: malformed (bad_json: no), not gold, the first failure",
        "  11",
        "turn 2",
        "+ Done.<|im_end|>",
    ]


def test_colour_paints_what_was_sampled_and_lets_no_other_control_code_through():
    lines = list(episode_lines(EPISODE, color=True))
    assert "\x1b[32m+ Done.<|im_end|>\x1b[0m" in lines
    assert "\x1b[2m  11\x1b[0m" in lines
    for line in lines:
        assert line.count("\x1b") in (0, 2)


def test_an_episode_without_tokens_is_shown_by_its_calls():
    bare = {k: v for k, v in EPISODE.items() if k not in ("messages", "ids", "mask")}
    bare["turns"] = [[{**EPISODE["turns"][0][0], "response": '{"id": 11}'}]]
    assert list(episode_lines(bare, color=False))[3:] == [
        "turn 1",
        '+ {"name": "find_place", "arguments": {"name": "Rome"}}',
        "  -> find_place: ok, gold call 0",
        '  {"id": 11}',
    ]


def test_the_command_shows_the_episodes_that_were_asked_for(tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_text("".join(json.dumps({**EPISODE, "trace": f"t{i}"}) + "\n" for i in range(4)))
    command = [sys.executable, "-m", "tooltrain.cli.show", str(path), "--first=2", "--count=2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("---")] == [
        f"--- episode {i} of {path} ---" for i in (2, 3)
    ]
    assert "trace t1" in done.stdout
    assert "\x1b" not in done.stdout  # not a terminal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "fewer than 1 episodes"),
        ("[]\n", "line 1 of .* is no episode"),
        ('{"a"', "line 1 of .* is no episode"),
    ],
)
def test_a_file_without_such_an_episode_is_refused(tmp_path, text, message):
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        show([str(path)], first=1, count=1, color=False)
    with pytest.raises(UserError, match="cannot read"):
        show([str(tmp_path / "none")], first=1, count=1, color=False)
    with pytest.raises(UserError, match="takes one file"):
        show([], first=1, count=1, color=False)
