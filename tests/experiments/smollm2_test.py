"""The experiment's way through on a tiny model, and the page that tells its results."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from configs.smollm2_booking import get_config
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.cache import Cache
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.export import export_policy
from tooltrain.policy.transformer import init_params

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = json.loads((ROOT / "experiments" / "results" / "smollm2.json").read_text())
PAGE = (ROOT / "docs" / "evaluation.md").read_text()
COLUMNS = [
    f"{prefix}{reading}_{metric}"
    for reading in ("strict", "reference")
    for prefix, metric in (
        ("", "success"),
        ("pooled_", "turn_accuracy"),
        ("pooled_", "call_accuracy"),
    )
]


def cell(metric: dict[str, float]) -> str:
    mean, low, high = (f"{100 * metric[key]:.1f}" for key in ("mean", "low", "high"))
    return "0" if mean == low == high == "0.0" else f"{mean} [{low}, {high}]"


def test_the_page_says_what_the_results_file_says():
    for stage, title in (("pretrained", "zero-shot"), ("sft", "after SFT")):
        table = RESULTS[stage]["complexfuncbench"]["overall"]
        cells = [cell(table[name]) for name in COLUMNS] + [cell(RESULTS[stage]["first_call"])]
        assert f"| {title} | {' | '.join(cells)} |" in PAGE
    seen = RESULTS["seen"]
    for shares in (seen["examples_in_benchmark"], seen["benchmark_in_examples"]):
        assert f"{100 * shares['identical_calls']:.1f}%" in PAGE
    for name in ("strict_turn_accuracy", "call_accuracy", "success"):
        assert cell(RESULTS["sft"]["held_out"]["metrics"][name]) in PAGE
    assert RESULTS["config"] == json.loads(json.dumps(get_config().to_dict()))


def test_another_size_is_refused():
    assert get_config("smoke").sft.steps < get_config().sft.steps
    with pytest.raises(ValueError, match="the size is one of"):
        get_config("large")


@pytest.mark.experiment
@pytest.mark.slow
def test_the_experiment_runs_and_what_is_done_is_not_done_again(booking_cache, tmp_path):
    queries = [sample.query for sample in Cache.open(str(booking_cache)).samples()]
    template = ChatTemplate(train_tokenizer(queries, 400))
    shape = {"num_layers": 1, "d_model": 16, "num_heads": 1, "num_kv_heads": 1, "head_dim": 16}
    policy = PolicyConfig(vocab_size=template.tokenizer.vocab_size, d_ff=16, **shape)
    params = init_params(policy, jax.random.key(0))
    export_policy(tmp_path / "hf", policy, params, template, max_len=512)
    results = tmp_path / "results.json"
    command = [
        *(sys.executable, "-m", "experiments.smollm2", f"--workdir={tmp_path / 'run'}"),
        "--config=configs/smollm2_booking.py:smoke",
        f"--config.cache={booking_cache}",
        f"--config.policy.pretrained={tmp_path / 'hf'}",
        *("--samples=6", f"--results={results}"),
    ]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    found = json.loads(results.read_text())
    assert found["pretrained"]["step"] == 0
    assert found["sft"]["step"] == 2
    assert found["sft"]["complexfuncbench"]["samples"] == 6
    assert found["seen"]["traces"]["identical_calls"] == 1
    assert found["seen"]["examples_in_benchmark"]["identical_calls"] < 0.5
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert json.loads(results.read_text()) == found
