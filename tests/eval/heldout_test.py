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
from tests.given_flags import given
from tooltrain import sharding
from tooltrain.cli.evaluate import FLAGS, evaluate
from tooltrain.data.chat_template import ChatTemplate, call_text
from tooltrain.data.dataset import write_traces
from tooltrain.data.tokenizer import Tokenizer, train_tokenizer
from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import open_environment
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.eval import heldout
from tooltrain.eval.episodes import read_episodes
from tooltrain.eval.heldout import Other, evaluate_workdir
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import init_params
from tooltrain.train.checkpoint import Checkpoints
from tooltrain.train.optimizer import make_optimizer, make_schedule
from tooltrain.train.state import create_state
from tooltrain.types import Binding, Call, GoldCall, Trace


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
    (again / "eval" / "sft_episodes_absent.jsonl").write_text("of a split that is no more")
    evaluate_workdir(config, str(again), flags=["--config=a.py", "--workdir=b c"])
    assert {p.name: p.read_bytes() for p in (again / "eval").iterdir()} == before


def test_an_evaluation_that_fails_before_it_writes_leaves_the_one_before(
    evaluated, tmp_path, monkeypatch
):
    config, workdir, _ = evaluated
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    before = {p.name: p.read_bytes() for p in (again / "eval").iterdir()}

    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(heldout, "summarize", fail)
    with pytest.raises(MemoryError):
        evaluate_workdir(config, str(again))
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


# --- on another suite ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def countries(tmp_path_factory):
    """A suite whose two tools no trace of cars has: (cache, directory of traces)."""
    path = tmp_path_factory.mktemp("countries")
    codes = {"Norway": "NO", "Kenya": "KE", "Peru": "PE"}
    with CacheWriter.create(path / "countries.sqlite") as writer:
        for name, argument in (("search_countries", "query"), ("get_capital", "code")):
            schema = {"properties": {argument: {"type": "string"}}, "required": [argument]}
            writer.add_tool(Tool(name, f"{name} something", schema))
        for country, code in codes.items():
            writer.add_entry("search_countries", {"query": country}, {"code": code})
            writer.add_entry("get_capital", {"code": code}, {"capital": f"of {country}"})
    traces = [
        Trace(
            f"test-{code}",
            "countries",
            "search_countries>get_capital",
            f'The capital of "{country}"?',
            ("get_capital", "search_countries"),
            (
                GoldCall("search_countries", {"query": country}),
                GoldCall("get_capital", {"code": code}, (0,), (Binding("code", 0, ("code",)),)),
            ),
            ({"code": code}, {"capital": f"of {country}"}),
        )
        for country, code in codes.items()
    ]
    write_traces(path / "traces", {"train": traces, "test": traces}, "countries")
    train_tokenizer([trace.query for trace in traces], 280).save(path / "traces" / "tokenizer.json")
    return str(path / "countries.sqlite"), str(path / "traces")


def test_another_suite_is_played_with_the_policys_own_tokens_beside_its_own_evaluation(
    evaluated, countries
):
    config, workdir, own_report = evaluated
    before = {p: p.read_bytes() for p in [*(workdir / "eval").iterdir(), own_report]}
    report = evaluate_workdir(config, str(workdir), other=Other("countries", *countries))

    assert report == workdir / "transfer" / "countries" / "report.html"
    assert {p: p.read_bytes() for p in before} == before
    episodes = read_episodes(report.parent / "eval" / "grpo_episodes_test.jsonl")
    assert {tool for e in episodes for tool in e["tools"]} == {"get_capital", "search_countries"}
    own = ChatTemplate(Tokenizer.load(workdir / "traces" / "tokenizer.json"))
    cache, _ = countries
    tools = open_environment(cache, **config.projection).tools
    offered = [tools[name] for name in episodes[0]["tools"]]
    prompt = list(own.prompt(episodes[0]["query"], offered))
    assert episodes[0]["ids"][: len(prompt)] == prompt

    players = json.loads((report.parent / "eval" / "baselines.json").read_text())
    turns = {
        name: player["splits"]["test"]["metrics"]["strict_turn_accuracy"]["mean"]
        for name, player in players.items()
    }
    assert (turns["gold"], turns["first look-up"]) == (1.0, 0.5)
    page = report.read_text()
    assert "booking on countries" in page
    assert "not trained on" in page
    assert "occur in training" not in page


def test_another_suite_needs_its_cache_and_its_traces_and_a_name_that_is_a_directory(countries):
    for name in ("", "..", "a/b", "-a"):
        with pytest.raises(UserError, match="becomes a directory"):
            Other(name, *countries)
    with pytest.raises(UserError, match="give both"):
        Other("countries", countries[0], "")
    with given(FLAGS, other_traces=countries[1]), pytest.raises(UserError, match="--name=NAME"):
        evaluate(tiny_cpu.get_config(), "runs/demo")
