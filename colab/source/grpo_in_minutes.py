# %% [markdown]
# # GRPO in minutes
#
# A policy learns to chain calls of a small recorded world: a short supervised warm start, then
# GRPO against the environment with the graduated reward. About five minutes on two CPU cores.
#
# The task: "prices for three kilos of the second fruit that is pink" asks for `find_fruit(color)`, then
# `price(fruit_id, kilos)` with the right element of what came back.

# %%
# %%writefile shop.py
from tooltrain.env.recorder.plan import Field, Plan, Range, ToolPlan, Values

COLORS = (
    "red",
    "green",
    "blue",
    "brown",
    "pink",
    "white",
    "black",
    "gold",
    "grey",
    "lime",
    "teal",
    "plum",
)


def find_fruit(color: str) -> dict:
    """Ids of the fruits of a color."""
    return {"fruits": [{"id": f"{color}-{i}"} for i in range(4)]}


def price(fruit_id: str, kilos: int = 1) -> dict:
    """The price of a fruit, in cents."""
    return {"fruit_id": fruit_id, "cents": 120 * kilos + len(fruit_id)}


tools = [find_fruit, price]
plan = Plan(
    (
        ToolPlan("find_fruit", {"color": Values(COLORS)}),
        ToolPlan(
            "price", {"fruit_id": Field("find_fruit", ("fruits", "[]", "id")), "kilos": Range(2, 6)}
        ),
    )
)

# %%

# !{sys.executable} -m tooltrain.cli.record --source=callables --callables=shop:tools --plan=shop:plan --config.suite=fruit --workdir=runs/fruit 2>/dev/null

# %% [markdown]
# ## Traces and a tokenizer, in a workdir as the commands make it

# %%
from tooltrain.data.corpus import corpus
from tooltrain.data.dataset import write_traces
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.environment import open_environment
from tooltrain.synthesis import phrasing_suites
from tooltrain.synthesis.generate import Settings, generate
from tooltrain.synthesis.phrasing import Phrasing, Suite

phrasing_suites.SUITES["fruit"] = Suite(
    tools={
        "find_fruit": Phrasing(
            ("fruits",), (("of the color {color}", "that are {color}"),), ("fruit",)
        ),
        "price": Phrasing(
            ("prices",), (("of {fruit_id}",), ("for {kilos} kilo[s]",)), countable=False
        ),
    },
    contexts=(("I am making jam.", "We have guests."),),
)
projection = {"max_tokens": 80, "max_items": 4, "max_value_chars": 64}
world = open_environment("runs/fruit/cache/fruit.sqlite", **projection)
settings = Settings(
    "fruit",
    grown_workflows=1,
    max_calls=2,
    distractors=0,
    held_out_workflows=0.0,
    train_rl_share=0.3,
    queries_per_filling=8,
)
made = generate(world, settings, progress=False)
write_traces("runs/fruit/traces", made.splits, "the fruit shop")
train_tokenizer(corpus(made.splits["train"], world), 512).save("runs/fruit/traces/tokenizer.json")
print({split: len(traces) for split, traces in made.splits.items()})
print(made.splits["train"][0].query)

# %% [markdown]
# ## The config: the demo's, made shorter

# %%
import importlib.util

from tooltrain.cli.main import installed_config

spec = importlib.util.spec_from_file_location("demo", installed_config("configs/tiny_cpu.py"))
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)
config = demo.get_config()
config.suite = "fruit"
config.projection.update(projection)
config.sft.update(
    steps=4 if SMALL else 480,
    seq_len=384,
    warmup_steps=2 if SMALL else 40,
    copy_warmup_examples=0 if SMALL else 3000,  # words that it never saw are to be copied
    cpu_devices=1,
    eval_every_steps=40,
    checkpoint_every_steps=4 if SMALL else 480,
)
config.grpo.update(
    steps=2 if SMALL else 24,
    prompts_per_step=2 if SMALL else 8,
    generations=4 if SMALL else 8,
    slots=8 if SMALL else 32,
    max_len=320,
    row_len=512,
    max_turns=3,
    max_turn_tokens=48,
    learning_rate=2e-4,
    warmup_steps=1,
    eval_every_steps=8,
    eval_episodes=4 if SMALL else 48,
    checkpoint_every_steps=2 if SMALL else 24,
)
_ = config.lock()

# %% [markdown]
# ## Supervised: imitate gold traces, but not for long

# %%
# %%capture
import time

import jax

from tooltrain.train import grpo, sft

jax.config.update("jax_compilation_cache_dir", "runs/fruit/compiled")
started, minutes = time.perf_counter(), {}
sft.train(config, "runs/fruit")
minutes["sft"] = (time.perf_counter() - started) / 60

# %% [markdown]
# ## GRPO: play, compare within groups, update
#
# The prompts are of fruits that the warm start has not seen. The held-out traces are few, of fruits that
# neither has seen, so their curve is coarse; the rollouts' reward is a mean over 64 a step.

# %%
# %%capture
started = time.perf_counter()
grpo.train(config, "runs/fruit")
minutes["grpo"] = (time.perf_counter() - started) / 60

# %%
# %matplotlib inline
import json
import pathlib

import matplotlib.pyplot as plt


def lines(stage, file="metrics.jsonl"):
    return [
        json.loads(line)
        for line in pathlib.Path("runs/fruit", stage, file).read_text().splitlines()
    ]


def plot(axis, found, *names):
    for name in names:
        points = [(line["step"], line[name]) for line in found if name in line]
        axis.plot(
            *zip(*points), label=name, marker="o" if name.startswith("eval") else None, markersize=3
        )
    axis.set_xlabel("step")
    axis.legend(fontsize=7)


figure, axes = plt.subplots(1, 4, figsize=(14, 2.8))
plot(axes[0], lines("sft"), "loss", "eval/loss")
axes[0].set_title("SFT: nats a token", fontsize=9)
plot(axes[1], lines("grpo"), "reward", "reward/atomic", "reward/orchestration")
axes[1].set_title("GRPO: reward of rollouts", fontsize=9)
plot(axes[2], lines("grpo"), "eval/strict_turn_accuracy", "eval/success")
axes[2].set_title("held-out traces, greedy", fontsize=9)
plot(axes[3], lines("grpo"), "entropy", "nonzero_variance_share")
axes[3].set_title("is there something to learn?", fontsize=9)
plt.tight_layout()
plt.show()

# %%
held_out = [line for line in lines("grpo") if "eval/success" in line]
for when, line in (("after SFT", held_out[0]), ("after GRPO", held_out[-1])):
    print(
        f"{when:10s} strict turn accuracy {line['eval/strict_turn_accuracy']:.2f}, success {line['eval/success']:.2f}"
    )
print("minutes:", {stage: round(spent, 1) for stage, spent in minutes.items()})

# %% [markdown]
# ## One of the last rollouts, turn by turn

# %%
# !{sys.executable} -m tooltrain.cli.show runs/fruit/grpo/episodes.jsonl --first={len(lines("grpo", "episodes.jsonl"))} --count=1 --color=never
