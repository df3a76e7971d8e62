"""Sweeps: what arms share, how they are compared, and every experiment's way through."""

import dataclasses
import importlib
import json
import pathlib
import shutil
from collections.abc import Callable

import pytest
from ml_collections import ConfigDict

from configs.tiny_cpu_curriculum import get_config as with_curriculum
from experiments import command, sft_or_grpo, sweep
from experiments.selection import SECTION, Selection
from tests.train.conftest import (
    recorded_workdir,  # noqa: F401  a fixture
    tiny_config,
)
from tooltrain.data.dataset import open_traces, write_traces
from tooltrain.errors import UserError
from tooltrain.types import GoldCall

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Experiments, and the arms of each that are run small: those that differ most from the demo.
SMOKE = {
    "rewards": ["matched", "binary"],
    "generations": ["4x32"],
    "distractors": ["5"],
    "traces_a_workflow": ["5"],
    "depth": ["at_most_3"],
    "curriculum": ["easy_first"],
    "components": ["components"],
    "sft_or_grpo": ["sft", "grpo"],
}


def arms(name: str, config: ConfigDict) -> dict[str, sweep.Overrides]:
    experiment = importlib.import_module(f"experiments.{name}")
    return experiment.ARMS if hasattr(experiment, "ARMS") else experiment.arms(config)


def scores(**by_seed: float):
    return {int(seed[1:]): {"grpo_strict_turn_accuracy": v} for seed, v in by_seed.items()}


def test_arms_are_compared_on_the_seeds_that_both_have():
    found = {"a": scores(s0=0.5, s1=0.6, s2=0.4), "b": scores(s0=0.6, s1=0.7), "c": {}}
    told = sweep.summary(found, "a")
    assert told["a"]["mean"] == pytest.approx(0.5)
    assert told["a"]["difference"] == 0.0
    assert told["b"]["difference"] == pytest.approx(0.1)
    assert "c" not in told


def test_an_arm_without_grpo_is_compared_by_its_sft():
    alone = {0: {"sft_strict_turn_accuracy": 0.7}}
    told = sweep.summary({"a": scores(s0=0.5), "b": alone}, "a")
    assert told["b"]["difference"] == pytest.approx(0.2)


@pytest.mark.parametrize("name", SMOKE)
def test_every_override_of_every_arm_is_a_field_of_the_config(name):
    config = with_curriculum() if name == "curriculum" else tiny_config()
    config = config.to_dict()
    fields = dataclasses.asdict(Selection())
    for overrides in arms(name, tiny_config()).values():
        for override, value in overrides.items():
            *sections, field = override.split(".")
            found = fields if sections == [SECTION] else config
            for section in sections if found is config else ():
                found = found[section]
            assert isinstance(value, type(found[field]))


def test_an_experiment_that_is_there_is_tried():
    files = (ROOT / "experiments").glob("*.py")
    asking = {f.stem for f in files if "sweep.run(" in f.read_text()}
    assert asking == {*SMOKE, "quickstart"}


def test_what_a_table_of_the_same_config_has_is_kept():
    table = {
        "config": {"seed": 0},
        "arms": {"a": {"grpo.reward": "binary"}},
        "results": {"a": [{"seed": 1, "minutes": 2.0}]},
        "behaviour": {"a": [{"seed": 1, "tokens": 3}]},
    }
    asked = {"a": {"grpo.reward": "binary"}, "b": {}}
    found, seen = sweep._kept(table, {"seed": 0}, asked)
    assert found == {"a": {1: {"seed": 1, "minutes": 2.0}}, "b": {}}
    assert seen == {"a": {1: {"seed": 1, "tokens": 3}}, "b": {}}
    nothing = ({"a": {}}, {"a": {}})
    assert sweep._kept(table, {"seed": 0}, {"a": {}}) == nothing
    assert sweep._kept(table, {"seed": 5}, {"a": asked["a"]}) == nothing
    assert sweep._kept({}, {"seed": 0}, {"a": asked["a"]}) == nothing


def test_the_command_that_is_told_names_no_directory_of_this_machine():
    told = command.told("rewards", ["--workdir=/home/me/x", "--seeds=0"])
    assert told == "python -m experiments.rewards --workdir=runs/rewards --seeds=0"


def test_a_command_that_fails_is_an_error_without_a_traceback_of_the_experiment(capfd):
    command.run(["-c", "import os; print(os.environ['SIDE'])"], SIDE="left")
    assert capfd.readouterr().out.endswith("\nleft\n")
    with pytest.raises(UserError, match="python -c 'exit\\(3\\)' ended with status 3"):
        command.run(["-c", "exit(3)"])


def test_arms_share_what_they_do_not_change():
    digest = lambda overrides, sections: sweep._digest(sweep._of(overrides, sections))  # noqa: E731
    reward, offered = {"grpo.reward": "binary"}, {"synthesis.distractors": 5}
    assert digest(reward, sweep.OF_SFT) == digest({}, sweep.OF_SFT) == "base"
    assert digest(offered, sweep.OF_TRACES) != "base"
    assert digest({"sft.steps": 10}, sweep.OF_TRACES) == "base"
    assert digest({"sft.steps": 10}, sweep.OF_SFT) != "base"
    # Fewer traces are another start, made of the same dataset.
    assert digest({"select.fillings": 3}, sweep.OF_TRACES) == "base"
    assert digest({"select.fillings": 3}, sweep.OF_SFT) != "base"


def test_arms_of_equal_tokens_have_equal_tokens():
    config = tiny_config()
    found = arms("sft_or_grpo", config)
    assert found["sft"]["grpo.steps"] == 0
    sft_step = config.sft.batch_size * config.sft.seq_len * sft_or_grpo.FILLED
    episodes = config.grpo.prompts_per_step * config.grpo.generations
    grpo_step = episodes * sft_or_grpo.EPISODE_TOKENS
    demo = config.sft.steps * sft_step + config.grpo.steps * grpo_step
    assert found["sft"]["sft.steps"] * sft_step == pytest.approx(demo, abs=sft_step / 2)
    random_step = episodes * sft_or_grpo.RANDOM_EPISODE_TOKENS
    assert found["grpo"]["grpo.steps"] * random_step == pytest.approx(demo, abs=random_step / 2)


@pytest.fixture(scope="module")
def traces(recorded_workdir, tmp_path_factory) -> pathlib.Path:  # noqa: F811
    """The small world's traces, told how hard they are, and a test split of 4 calls each."""
    recorded = recorded_workdir / "traces"
    splits = {name: open_traces(recorded, name)[:] for name in ("train", "validation", "test")}
    first, second = splits["test"]
    later = [
        GoldCall(
            call.name,
            call.arguments,
            tuple(source + 2 for source in call.depends_on),
            tuple(dataclasses.replace(b, source=b.source + 2) for b in call.bindings),
        )
        for call in second.calls
    ]
    four = dataclasses.replace(
        first, query=f"{first.query} {second.query}", calls=(*first.calls, *later), responses=()
    )
    splits["test"] = [four, dataclasses.replace(four, id="again")]
    hard = {
        name: [dataclasses.replace(t, difficulty={"calls": len(t.calls)}) for t in found]
        for name, found in splits.items()
    }
    path = tmp_path_factory.mktemp("sweep") / "traces"
    write_traces(path, hard, "a small world")
    shutil.copy(recorded / "tokenizer.json", path)
    return path


@pytest.fixture
def run(run_python, workdir) -> Callable[..., str]:
    """(config, *line) -> what an experiment's command printed; `config` is lines of a file."""

    def run(config: str, *line: str) -> str:
        file = workdir / "config.py"
        file.write_text(
            "from tests.train.conftest import tiny_config\n\n\n"
            "def get_config():\n"
            "    config = tiny_config().unlock()\n"
            "    config.sft.steps = config.grpo.steps = config.eval.episodes = 2\n"
            f"{config}    return config\n"
        )
        return run_python(*line, f"--config={file}", f"--workdir={workdir}", "--seeds=0")

    return run


@pytest.fixture
def workdir(recorded_workdir, compiled, tmp_path) -> pathlib.Path:  # noqa: F811
    """A sweep's, with responses and no traces, and what other tests compiled."""
    shutil.copytree(recorded_workdir / "cache", tmp_path / "sweep" / "cache")
    (tmp_path / "sweep" / "compiled").symlink_to(compiled)
    return tmp_path / "sweep"


@pytest.mark.experiment
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMOKE if name != "rewards"])
def test_an_experiment_runs(name, run, workdir, traces):
    config = tiny_config().unlock()
    config.sft.steps = config.grpo.steps = 2
    overrides = {arm: arms(name, config)[arm] for arm in SMOKE[name]}
    for of_arm in overrides.values():
        made_by = sweep._of(of_arm, sweep.OF_TRACES)
        shutil.copytree(traces, sweep._traces(config, workdir, made_by), dirs_exist_ok=True)
    results = workdir / "results.json"
    easy = "    config.sft.curriculum = dict(by='calls', ramp_examples=8, start=0.5)\n"
    line = ("-m", f"experiments.{name}", f"--arms={','.join(overrides)}", f"--results={results}")
    run(easy if name == "curriculum" else "", *line)
    table = json.loads(results.read_text())
    for arm, of_arm in overrides.items():
        (result,), (behaviour,) = table["results"][arm], table["behaviour"][arm]
        stages = ("sft",) if of_arm.get("grpo.steps") == 0 else ("sft", "grpo")
        for stage in stages:
            assert 0 <= result[f"{stage}_strict_turn_accuracy"] <= 1
            assert behaviour[stage]["test"]["episodes"] == 2
            assert behaviour["tokens"][stage] > 0
        assert ("grpo_steps" in result) == ("grpo" in stages)
    drawn, told = (results.with_suffix(suffix).read_text() for suffix in (".svg", ".md"))
    assert all(arm in drawn and f"| {arm} |" in told for arm in overrides)


@pytest.mark.experiment
@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped(run, workdir, traces):
    shutil.copytree(traces, workdir / "traces-base" / "traces")
    results = workdir / "results.json"
    line = ("-m", "experiments.rewards", f"--results={results}")
    run("", *line, "--arms=matched")
    told = run("", *line, "--arms=matched,binary")
    # The start is shared and the first arm done: only the second one is trained.
    assert told.count("tooltrain.cli.train_grpo") == 1
    table = json.loads(results.read_text())
    assert table["summary"].keys() == {"matched", "binary"}
    assert table["results"]["binary"][0]["last_steps"]["calls_per_episode"] >= 0
    assert table["question"].startswith("Which reward gives the best strict accuracy")
    # What is read from the files is what evaluation paid for the same episodes.
    evaluated = json.loads((workdir / "seed0" / "matched" / "eval" / "grpo.json").read_text())
    paid = evaluated["splits"]["test"]["metrics"]["matched_reward"]["mean"]
    assert table["behaviour"]["matched"][0]["grpo"]["test"]["reward"] == pytest.approx(paid)
    # The table alone is enough to go on elsewhere, and what is not asked for stays in it.
    shutil.rmtree(workdir / "seed0")
    assert "tooltrain.cli" not in run("", *line, "--arms=matched")
    assert json.loads(results.read_text())["results"] == table["results"]


@pytest.mark.experiment
@pytest.mark.slow
def test_the_quickstart_runs_as_its_readers_run_it(run, workdir, traces):
    results = workdir / "results.json"
    at = f"    config.traces = {str(traces)!r}\n"
    run(at, "experiments/quickstart.py", f"--results={results}")
    table = json.loads(results.read_text())
    (seed,) = table["seeds"]
    assert seed["sft_steps"] == seed["grpo_steps"] == 2
    assert 0 <= seed["grpo_strict_turn_accuracy"] <= 1
    assert table["baselines"]["gold"] == 1
    assert table["command"].startswith("python -m experiments.quickstart --")
