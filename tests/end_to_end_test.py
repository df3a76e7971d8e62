"""The demo's own commands, in order, with a smaller config: one real run of the whole way."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

REPO_ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = {
    "synthesis.max_calls": 3,
    "synthesis.min_support": 60,
    "synthesis.queries_per_filling": 1,
    "tokenizer.vocab_size": 512,
    "policy.num_layers": 2,
    "policy.d_model": 32,
    "policy.head_dim": 16,
    "policy.d_ff": 64,
    "sft.steps": 6,
    "sft.batch_size": 4,
    "sft.warmup_steps": 2,
    "sft.copy_warmup_examples": 8,
    "sft.eval_every_steps": 3,
    "sft.eval_batches": 1,
    "sft.checkpoint_every_steps": 3,
    "sft.log_every_steps": 1,
    "grpo.steps": 2,
    "grpo.warmup_steps": 1,
    "grpo.prompts_per_step": 2,
    "grpo.generations": 4,
    "grpo.max_turns": 3,
    "grpo.max_turn_tokens": 24,
    "grpo.max_len": 640,
    "grpo.slots": 8,
    "grpo.filter_zero_variance": False,
    "grpo.eval_every_steps": 2,
    "grpo.eval_episodes": 4,
    "grpo.checkpoint_every_steps": 2,
    "eval.episodes": 6,
    "eval.slots": 8,
}


def _run(command: str, workdir: pathlib.Path, *more: str) -> str:
    line = [sys.executable, "-m", f"tooltrain.cli.{command}", f"--workdir={workdir}"]
    line += ["--config=configs/tiny_cpu.py"]
    line += [f"--config.{name}={value}" for name, value in SMALL.items()] + list(more)
    # What is compiled here computes for a moment only.
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(line, cwd=REPO_ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, booking_wheel) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("demo")
    _run("record", workdir, "--source=complexfuncbench", f"--wheel={booking_wheel}")
    for command in ("synthesize", "train_sft", "train_grpo", "evaluate"):
        _run(command, workdir)
    return workdir


def test_the_demo_ends_with_a_report_and_gold_scores_one(workdir):
    assert (workdir / "report.html").stat().st_size > 10_000
    baselines = json.loads((workdir / "eval" / "baselines.json").read_text())
    gold = baselines["gold"]["splits"]["test"]["metrics"]
    assert all(entry["mean"] == 1.0 for entry in gold.values())
    for stage in ("sft", "grpo"):
        splits = json.loads((workdir / "eval" / f"{stage}.json").read_text())["splits"]
        assert 0.0 <= splits["test"]["metrics"]["strict_turn_accuracy"]["mean"] < 1.0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_the_same_numbers(workdir, tmp_path):
    for shared in ("cache", "compiled"):
        (tmp_path / shared).symlink_to(workdir / shared)
    for command in ("synthesize", "train_sft", "train_grpo"):
        _run(command, tmp_path)
    for name in ("sft/metrics.jsonl", "grpo/metrics.jsonl", "grpo/episodes.jsonl"):
        assert (tmp_path / name).read_bytes() == (workdir / name).read_bytes(), name
    names = ["tokenizer.json", "report.json"]
    names += [str(p.relative_to(workdir / "traces")) for p in workdir.rglob("*.array_record*")]
    assert len(names) > 4
    for name in names:
        ours, theirs = tmp_path / "traces" / name, workdir / "traces" / name
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_a_run_that_is_complete_is_left_as_it_is(workdir):
    before = (workdir / "sft" / "metrics.jsonl").read_bytes()
    _run("train_sft", workdir)
    assert (workdir / "sft" / "metrics.jsonl").read_bytes() == before
