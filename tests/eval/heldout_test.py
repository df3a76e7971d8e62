"""The evaluation of a workdir as the command runs it: real cache, traces and checkpoints.

The policies are fresh ones: what is tested is the way, not the score.
"""

import dataclasses
import json
import shutil

import jax
import pytest
from ml_collections import ConfigDict

from configs import tiny_cpu
from tooltrain import sharding
from tooltrain.data.chat_template import call_text
from tooltrain.data.dataset import write_traces
from tooltrain.data.tokenizer import Tokenizer, train_tokenizer
from tooltrain.errors import UserError
from tooltrain.eval.episodes import read_episodes
from tooltrain.eval.heldout import evaluate_workdir
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import init_params
from tooltrain.train.checkpoint import Checkpoints
from tooltrain.train.optimizer import make_optimizer, make_schedule
from tooltrain.train.state import create_state
from tooltrain.types import Call


def config_for(environment) -> ConfigDict:
    config = tiny_cpu.get_config()
    config.cache = str(environment.cache.path)
    config.policy.update(num_layers=1, d_model=16, num_heads=1, num_kv_heads=1, d_ff=16)
    config.policy.head_dim = 16
    config.grpo.update(max_turns=2, max_turn_tokens=16, max_len=512)
    config.eval.slots = 8
    return config


def save_fresh_policy(config, directory, seed):
    tokenizer = Tokenizer.load(directory.parent / "traces" / "tokenizer.json")
    policy = PolicyConfig(vocab_size=tokenizer.vocab_size, **config.policy.to_dict())
    mesh = sharding.make_mesh(config.mesh)
    schedule = make_schedule(1e-3, steps=1, warmup_steps=0, final_fraction=1.0, decay="constant")
    optimizer = make_optimizer("adamw", schedule, **config.optimizer)
    with jax.set_mesh(mesh), Checkpoints(directory) as checkpoints:
        state = create_state(mesh, lambda: init_params(policy, jax.random.key(seed)), optimizer)
        checkpoints.save(state, 1, {"seed": seed, "data": {}})


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, environment, traces):
    workdir = tmp_path_factory.mktemp("run")
    config = config_for(environment)
    write_traces(workdir / "traces", {"train": traces, "test": traces[:4]}, "test")
    texts = [t.query for t in traces]
    texts += [call_text(Call(c.name, c.arguments)) for t in traces for c in t.calls]
    train_tokenizer(texts, 300).save(workdir / "traces" / "tokenizer.json")
    for seed, stage in enumerate(("sft", "grpo")):
        save_fresh_policy(config, workdir / stage, seed)
    report = evaluate_workdir(config, str(workdir), flags=["--config=a.py", "--workdir=b c"])
    return config, workdir, report


def test_it_writes_summaries_episodes_and_the_report(evaluated):
    _, workdir, report = evaluated
    assert report == workdir / "report.html"
    assert sorted(path.name for path in (workdir / "eval").iterdir()) == [
        "baselines.json",
        "grpo.json",
        "grpo_episodes_test.jsonl",
        "run.json",
        "sft.json",
        "sft_episodes_test.jsonl",
    ]
    assert (
        json.loads((workdir / "eval" / "sft.json").read_text())["splits"]["test"]["episodes"] == 4
    )


def test_gold_is_one_and_a_fresh_policy_about_nothing(evaluated):
    _, workdir, _ = evaluated
    baselines = json.loads((workdir / "eval" / "baselines.json").read_text())
    assert all(m["mean"] == 1.0 for m in baselines["gold"]["splits"]["test"]["metrics"].values())
    fresh = json.loads((workdir / "eval" / "grpo.json").read_text())["splits"]["test"]["metrics"]
    assert fresh["strict_turn_accuracy"]["mean"] == 0.0


def test_every_trace_was_played_once_in_order(evaluated, traces):
    _, workdir, _ = evaluated
    played = read_episodes(workdir / "eval" / "sft_episodes_test.jsonl")
    assert [episode["trace"] for episode in played] == [trace.id for trace in traces[:4]]


def test_the_report_gives_commands_that_can_be_pasted(evaluated):
    _, _, report = evaluated
    command = "python -m tooltrain.cli.train_grpo --config=a.py &#39;--workdir=b c&#39;"
    assert command in report.read_text()


def test_evaluating_again_gives_the_same_bytes(evaluated, tmp_path):
    config, workdir, _ = evaluated
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    before = {p.name: p.read_bytes() for p in (again / "eval").iterdir()}
    evaluate_workdir(config, str(again), flags=["--config=a.py", "--workdir=b c"])
    assert {p.name: p.read_bytes() for p in (again / "eval").iterdir()} == before


def test_traces_of_another_cache_are_refused_before_anything_is_written(
    evaluated, traces, tmp_path
):
    config, workdir, _ = evaluated
    other = tmp_path / "other"
    shutil.copytree(workdir, other, ignore=shutil.ignore_patterns("eval", "report.html", "traces"))
    calls = (dataclasses.replace(traces[1].calls[0], arguments={"query": "Atlantis"}),)
    write_traces(other / "traces", {"test": [dataclasses.replace(traces[1], calls=calls)]}, "test")
    shutil.copy(workdir / "traces" / "tokenizer.json", other / "traces")
    with pytest.raises(UserError, match="do not score 1"):
        evaluate_workdir(config, str(other))
    assert not (other / "eval").exists()


def test_without_an_sft_checkpoint_it_says_what_to_run(evaluated, tmp_path):
    config, workdir, _ = evaluated
    bare = tmp_path / "bare"
    shutil.copytree(workdir / "traces", bare / "traces")
    with pytest.raises(UserError, match="train_sft"):
        evaluate_workdir(config, str(bare))
