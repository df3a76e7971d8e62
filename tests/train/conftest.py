"""A small recorded world as a workdir, and the demo's own config made small."""

from __future__ import annotations

import importlib.util
import pathlib
import shutil

import pytest
from ml_collections import ConfigDict

from tooltrain.data.corpus import corpus
from tooltrain.data.dataset import write_traces
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import open_environment
from tooltrain.env.schema import Tool
from tooltrain.train.metrics import MetricsWriter
from tooltrain.types import Binding, GoldCall, Trace

CONFIG_FILE = pathlib.Path(__file__).resolve().parents[2] / "configs" / "tiny_cpu.py"
PLACES = ("Rome", "Bari", "Oslo", "Lima", "Pisa", "Cork", "Bonn", "Metz")


def interrupt(stage, config, workdir, monkeypatch, at: int) -> None:
    """Runs a stage (a module with `train`) until this step was dispatched."""
    write = MetricsWriter.step

    def interrupted(self, step, *args):
        if step == at:
            raise KeyboardInterrupt
        write(self, step, *args)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.train(config, str(workdir))


def _tool(tool: str, **types: str) -> Tool:
    properties = {argument: {"type": kind} for argument, kind in types.items()}
    parameters = {"type": "object", "properties": properties, "required": list(types)}
    return Tool(tool, f"{tool} something", parameters, tool)


def _trace(i: int) -> Trace:
    """find > weather of one place."""
    found, weather = {"id": i}, {"sky": "clear", "degrees": 10 + i}
    return Trace(
        f"chain-{i}",
        "weather",
        "find>weather",
        f'Weather in "{PLACES[i]}"?',
        ("find", "weather") if i % 2 else ("weather", "find"),
        (
            GoldCall("find", {"name": PLACES[i]}),
            GoldCall("weather", {"id": i}, (0,), (Binding("id", 0, ("id",)),)),
        ),
        (found, weather),
    )


@pytest.fixture(scope="session")
def recorded_workdir(tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("recorded")
    path = workdir / "cache" / "weather.sqlite"
    with CacheWriter.create(path) as writer:
        writer.add_tool(_tool("find", name="string"))
        writer.add_tool(_tool("weather", id="number"))
        for i, place in enumerate(PLACES):
            writer.add_entry("find", {"name": place}, {"id": i})
            writer.add_entry("weather", {"id": i}, {"sky": "clear", "degrees": 10 + i})
    environment = open_environment(str(path), **tiny_config().projection)
    traces = [_trace(i) for i in range(len(PLACES))]
    splits = {"train": traces[:4], "validation": traces[4:6], "test": traces[6:]}
    write_traces(workdir / "traces", splits, "a small world")
    tokenizer = train_tokenizer(corpus(traces, environment), 300)
    tokenizer.save(workdir / "traces" / "tokenizer.json")
    return workdir


@pytest.fixture
def workdir(recorded_workdir, tmp_path) -> pathlib.Path:
    """A fresh workdir with that cache and those traces."""
    return shutil.copytree(recorded_workdir, tmp_path / "run")


def tiny_config() -> ConfigDict:
    """configs/tiny_cpu.py, its sizes and step counts cut down."""
    spec = importlib.util.spec_from_file_location("tiny_cpu", CONFIG_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.suite = "weather"
    config.policy.update(num_layers=1, d_model=32, num_heads=2, num_kv_heads=1, d_ff=64)
    config.policy.head_dim = 16
    config.sft.update(steps=4, batch_size=8, seq_len=192, warmup_steps=1, eval_batches=1)
    config.sft.update(log_every_steps=1, checkpoint_every_steps=2, eval_every_steps=2)
    config.sft.update(copy_warmup_examples=0, copy_fraction=0.25, augment_fraction=0.0)
    config.grpo.update(steps=4, prompts_per_step=4, generations=4, slots=16, max_len=192)
    config.grpo.update(row_len=256, microbatch_rows=8)
    config.grpo.update(kl_coefficient=0.001)
    config.grpo.update(split="train")  # too few traces to keep some from SFT
    config.grpo.update(max_turns=3, max_turn_tokens=32, warmup_steps=1, log_every_steps=1)
    config.grpo.update(checkpoint_every_steps=2, eval_every_steps=2, eval_episodes=2)
    return config.lock()


@pytest.fixture
def config() -> ConfigDict:
    return tiny_config()


@pytest.fixture(scope="session")
def make_config():
    return tiny_config
