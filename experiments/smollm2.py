"""How much of ComplexFuncBench does SmolLM2-135M-Instruct learn from synthesized traces?

Plays the benchmark and the held-out traces with the pretrained policy (zero-shot), fine-tunes it
on augmented traces, plays both again, and writes results/smollm2.json: strict and reference
reading, call accuracy and success with 95% intervals, how many of the benchmark's calls the
training examples held, and the numbers over samples that held none of them.

Command    python -m experiments.smollm2 --config=configs/smollm2_booking.py \
               --workdir=runs/smollm2 --examples=2000
           What the results file has is not done again; a stage under way is resumed.
Hardware   one H100 (config size "gpu"), or any machine with --config=...:smoke --results=FILE
Time       10 minutes, and as long again for compiling when nothing is in WORKDIR/compiled
Expected   strict call accuracy 0 before and 0.27 after, success 0.04
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from typing import Any

import numpy as np
import tqdm
from absl import flags
from ml_collections import ConfigDict

from benchmarks.machine import machine
from experiments import command
from tooltrain.cli import devices, main
from tooltrain.data.dataset import open_traces
from tooltrain.data.order import Curriculum, order
from tooltrain.data.pipeline import Examples
from tooltrain.env.environment import Environment, open_environment
from tooltrain.eval import complexfuncbench
from tooltrain.eval.complexfuncbench_policy import PolicyPlayer
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, chosen, read_samples
from tooltrain.eval.complexfuncbench_scores import summarize as summarize_samples
from tooltrain.eval.complexfuncbench_scores import table_lines
from tooltrain.eval.evaluate import bootstrap_interval, score, summarize
from tooltrain.eval.trained_policy import PRETRAINED, TrainedPolicy
from tooltrain.rollout.episode import prompt_of
from tooltrain.synthesis.contamination import of_samples, of_traces, overlap
from tooltrain.train import sft
from tooltrain.train.start import start

SAMPLES = flags.DEFINE_integer("samples", 0, "How many of the benchmark's 1,000; 0: all.")
EXAMPLES = flags.DEFINE_integer(
    "examples", 0, "Training examples compared with the benchmark; 0: all, and tables without them."
)
RESULTS = flags.DEFINE_string(
    "results",
    str(pathlib.Path(__file__).resolve().parent / "results" / "smollm2.json"),
    "File to write.",
)
STAGES = (PRETRAINED, "sft")
SPLIT = "test"


def smollm2(config: ConfigDict, workdir: str) -> None:
    devices.prepare(workdir, cpu_devices=config.sft.cpu_devices)
    root = pathlib.Path(workdir)
    found = _begun(config)

    # --- responses and traces ---------------------------------------------------------
    cache = pathlib.Path(config.cache or root / "cache" / f"{config.suite}.sqlite")
    if not cache.is_file():
        _run("record", "--source=complexfuncbench")
    if not (pathlib.Path(config.traces or root / "traces") / "tokenizer.json").is_file():
        _run("synthesize")
    environment = open_environment(str(cache), **config.projection)

    # --- zero-shot, training, after it ------------------------------------------------
    for stage in STAGES:
        if stage == "sft" and "training" not in found:
            started = time.perf_counter()
            sft.train(config, workdir)
            found["seconds"]["train_sft"] = round(time.perf_counter() - started, 1)
            found["training"] = _training(root / "sft")
            _write(found)
        if stage not in found:
            started = time.perf_counter()
            found[stage] = _evaluate(config, root, environment, stage)
            found["seconds"][f"evaluate_{stage}"] = round(time.perf_counter() - started, 1)
            _write(found)

    # --- what training had seen of the benchmark --------------------------------------
    if "seen" not in found:
        taken = int(found["training"]["last"]["examples"])
        found["seen"] = _seen(config, root, environment, taken)
        _write(found)


def _begun(config: ConfigDict) -> dict[str, Any]:
    """What the results file has of this config and these flags, or an empty result."""
    path = pathlib.Path(RESULTS.value)
    wanted = json.loads(json.dumps(config.to_dict()))
    asked = {"samples": SAMPLES.value, "examples": EXAMPLES.value}
    if path.is_file():
        found = json.loads(path.read_text())
        if found["config"] == wanted and found["asked"] == asked:
            return found
    return {
        "question": __doc__.splitlines()[0],
        "command": command.told("smollm2"),
        "machine": machine(),
        "config": wanted,
        "asked": asked,
        "seconds": {},
    }


def _run(name: str, *options: str) -> None:
    own = ("--samples", "--examples", "--results")
    given = [option for option in sys.argv[1:] if not option.startswith(own)]
    line = ["-m", f"tooltrain.cli.{name}", *given, *options]
    # A second process on the accelerator would find no memory left; these need none.
    command.run(line, JAX_PLATFORMS="cpu")


def _evaluate(
    config: ConfigDict, root: pathlib.Path, environment: Environment, stage: str
) -> dict[str, Any]:
    policy = TrainedPolicy(config, str(root), stage)

    # --- ComplexFuncBench ---------------------------------------------------------------
    samples = chosen(read_samples(environment.cache), SAMPLES.value)
    benchmark = complexfuncbench.evaluate(
        PolicyPlayer(policy),
        samples,
        BenchmarkEnvironment(environment, whole_responses=False),
        root / "eval" / "complexfuncbench" / stage,
        settings={"distractors": None},
    )
    print("\n".join(table_lines(benchmark)), flush=True)
    first = np.array([[_first_is_right(row)] for row in _rows(root, stage)], np.float64)
    low, high = bootstrap_interval(first, seed=config.seed)

    # --- held-out traces ----------------------------------------------------------------
    traces = open_traces(config.traces or root / "traces", SPLIT)
    wanted = config.eval.episodes or len(traces)
    held_out = [traces[i] for i in range(min(wanted, len(traces)))]
    prompts = [prompt_of(i, t, policy.template, environment) for i, t in enumerate(held_out)]
    summary = summarize(score(held_out, policy.rollouts(prompts, environment)), seed=config.seed)
    shown = {name: round(m["mean"], 3) for name, m in summary["metrics"].items()}
    print(f"{stage} on {len(held_out)} held-out traces: {shown}", flush=True)
    return {
        "step": policy.identity["step"],
        "complexfuncbench": {
            key: benchmark[key]
            for key in ("samples", "overall", "by_domain", "by_calls", "outcomes", "ends")
        },
        "first_call": {"mean": float(first.mean()), "low": float(low[0]), "high": float(high[0])},
        "held_out": {
            key: summary[key] for key in ("episodes", "metrics", "outcomes", "ends", "by_depth")
        },
    }


def _rows(root: pathlib.Path, stage: str) -> list[dict[str, Any]]:
    """The scored samples of the benchmark."""
    path = root / "eval" / "complexfuncbench" / stage / "samples.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _first_is_right(row: dict[str, Any]) -> bool:
    """Whether the first call of a sample is a gold one, by the strict reading."""
    return bool(row["calls"]) and row["calls"][0]["gold"] is not None


def _training(directory: pathlib.Path) -> dict[str, Any]:
    """The last numbers of training, every evaluation of it, and its speed in the middle."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    timing = [json.loads(line) for line in (directory / "timing.jsonl").read_text().splitlines()]
    speeds = [line["tokens_per_second"] for line in timing if "tokens_per_second" in line]
    return {
        "last": [line for line in lines if "loss" in line][-1],
        "evaluations": [line for line in lines if "eval/loss" in line],
        "median_tokens_per_second": float(np.median(speeds)),
    }


def _seen(
    config: ConfigDict, root: pathlib.Path, environment: Environment, taken_in_all: int
) -> dict[str, Any]:
    """What the training traces and the first examples (--examples), as they were imitated, have
    in common with the benchmark (`contamination.overlap`); if all were looked at, also the
    benchmark's tables over samples of which no call was among them."""
    count = min(EXAMPLES.value or taken_in_all, taken_in_all)

    # --- the examples -------------------------------------------------------------------
    traces = open_traces(config.traces or root / "traces", "train")
    given = config.sft.get("curriculum")
    curriculum = Curriculum(**given) if given else None
    taken = order(
        len(traces),
        seed=config.seed,
        easiest_first=curriculum.easiest_first(traces) if curriculum else None,
        curriculum=curriculum,
    )
    examples = Examples(
        traces,
        start(config, str(root)).template,
        environment,
        config.seed,
        config.sft.copy_fraction,
        config.sft.copy_warmup_examples,
        config.sft.augment_fraction,
        config.sft.context_loss_weight,
        config.synthesis.variety,
    )
    drawn = [examples.imitated(i, int(taken[i])) for i in tqdm.trange(count, desc="examples")]
    imitated = [pair[0] for pair in drawn if pair is not None]

    # --- what they share with the benchmark ---------------------------------------------
    tools, theirs = environment.tools, of_samples(environment.cache.samples())
    shared = {
        "traces": overlap(of_traces(traces), theirs, tools),
        "examples": count,
        "examples_in_benchmark": overlap(of_traces(imitated), theirs, tools),
        "benchmark_in_examples": overlap(theirs, of_traces(imitated), tools),
    }

    if count < taken_in_all:
        return shared

    # --- samples that share nothing ------------------------------------------------------
    requests = {(c.name, tools[c.name].canonical(c.arguments)) for t in imitated for c in t.calls}
    samples = read_samples(environment.cache)
    unseen = {sample.id for sample in samples if requests.isdisjoint(sample.requests)}
    for stage in STAGES:
        rows = [row for row in _rows(root, stage) if row["id"] in unseen]
        shared[f"{stage}_unseen"] = summarize_samples(rows)["overall"] if rows else {}
    return shared


def _write(found: dict[str, Any]) -> None:
    path = pathlib.Path(RESULTS.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    partial.replace(path)


if __name__ == "__main__":
    main.run(smollm2)
