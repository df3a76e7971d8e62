"""The command: a trained policy's way through the benchmark, and what a user may get wrong."""

import dataclasses
import json

import jax
import pytest

from tests.given_flags import given
from tooltrain import sharding
from tooltrain.cli.evaluate_complexfuncbench import FLAGS, evaluate_complexfuncbench
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.data.traces import write_jsonl
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.errors import UserError
from tooltrain.eval.complexfuncbench_samples import chosen, read_samples
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import init_params
from tooltrain.train.checkpoint import Checkpoints
from tooltrain.train.optimizer import make_optimizer, make_schedule
from tooltrain.train.state import create_state
from tooltrain.types import GoldCall


@pytest.fixture
def config(booking_config, booking_cache):
    config = booking_config
    config.cache = str(booking_cache)
    config.policy.update(num_layers=1, d_model=16, num_heads=1, num_kv_heads=1, d_ff=16)
    config.policy.head_dim = 16
    config.grpo.update(max_turns=2, max_turn_tokens=8, max_len=768)
    config.eval.slots = 4
    return config


def save_fresh_policy(config, workdir):
    """What training leaves, untrained: the way is tested, not the score."""
    queries = [sample.query for sample in Cache.open(config.cache).samples()]
    (workdir / "traces").mkdir()
    tokenizer = train_tokenizer(queries, 400)
    tokenizer.save(workdir / "traces" / "tokenizer.json")
    policy = PolicyConfig(vocab_size=tokenizer.vocab_size, **config.policy.to_dict())
    mesh = sharding.make_mesh(config.mesh)
    schedule = make_schedule(1e-3, steps=1, warmup_steps=0, final_fraction=1.0, decay="constant")
    optimizer = make_optimizer("adamw", schedule, **config.optimizer)
    with jax.set_mesh(mesh), Checkpoints(workdir / "sft") as checkpoints:
        state = create_state(mesh, lambda: init_params(policy, jax.random.key(0)), optimizer)
        checkpoints.save(state, 1, {"seed": 0, "data": {}})


def test_a_policy_plays_through_the_rollout_engine(config, tmp_path, capsys):
    save_fresh_policy(config, tmp_path)
    with given(FLAGS, player="sft", samples=6, distractors=1):
        evaluate_complexfuncbench(config, str(tmp_path))
    directory = tmp_path / "eval" / "complexfuncbench" / "sft"
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["samples"] == 6
    assert summary["identity"]["step"] == 1
    assert sum(summary["ends"].values()) == 6
    assert "finished" in summary["ends"] or "max_turn_tokens" in summary["ends"]
    assert "strict success" in capsys.readouterr().out


def test_gold_through_the_command_scores_everything(config, tmp_path, capsys):
    with given(FLAGS, player="gold", samples=40):
        evaluate_complexfuncbench(config, str(tmp_path))
    assert "outcomes: success 40" in capsys.readouterr().out


def test_calls_of_a_trace_file_tell_the_samples_that_share_one(config, tmp_path, capsys):
    samples = chosen(read_samples(Cache.open(config.cache)), 40)
    learned = samples[3]
    name, canonical = learned.requests[0]
    call = next(c for c in learned.trace.calls if c.name == name)
    # The same request in another order of arguments, in a trace of its own.
    arguments = dict(reversed(call.arguments.items()))
    trace = dataclasses.replace(
        learned.trace,
        id="train-0",
        calls=(GoldCall(name, arguments),),
        responses=learned.trace.responses[:1],
    )
    write_jsonl(tmp_path / "imitated.jsonl", [trace])
    with given(FLAGS, player="gold", samples=40, imitated=[str(tmp_path / "imitated.jsonl")]):
        evaluate_complexfuncbench(config, str(tmp_path))
    path = tmp_path / "eval" / "complexfuncbench" / "gold" / "summary.json"
    sizes = {n: t["samples"] for n, t in json.loads(path.read_text())["by_seen"].items()}
    sharing = sum((name, canonical) in sample.requests for sample in samples)
    assert 1 <= sharing < 40
    assert sizes == {"shares a call": sharing, "shares no call": 40 - sharing}
    assert "shares no call" in capsys.readouterr().out

    (tmp_path / "queries.txt").write_text("Where is Rome?\n")
    with (
        given(FLAGS, player="gold", imitated=[str(tmp_path / "queries.txt")]),
        pytest.raises(UserError, match="holds no call"),
    ):
        evaluate_complexfuncbench(config, str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"player": "grpo"}, "holds no checkpoint; run `train_grpo` first"),
        ({"player": "transcript"}, "needs --transcripts=FILE"),
        ({"player": "endpoint", "model": "m"}, "wanted an address such as"),
        ({"player": "endpoint", "endpoint": "http://127.0.0.1:1/v1"}, "wanted an address"),
    ],
)
def test_what_is_missing_is_named(flags, message, config, tmp_path):
    if flags["player"] == "endpoint":
        pytest.importorskip("openai")
    with given(FLAGS, **flags), pytest.raises(UserError, match=message):
        evaluate_complexfuncbench(config, str(tmp_path))


def test_a_cache_without_samples_is_refused(config, tmp_path, environment_without_samples):
    config.cache = str(environment_without_samples)
    with given(FLAGS, player="gold"), pytest.raises(UserError, match="no benchmark samples"):
        evaluate_complexfuncbench(config, str(tmp_path))


@pytest.fixture
def environment_without_samples(tmp_path):
    with CacheWriter.create(tmp_path / "empty.sqlite"):
        pass
    return tmp_path / "empty.sqlite"
