# %% [markdown]
# # One episode, token by token
#
# What a policy is trained on is ids, and a mask of those that it wrote itself. This notebook records a
# small world, writes traces for it, teaches a tiny policy the format, and looks at one rollout.

# %%
# %%writefile shop.py
from tooltrain.env.recorder.plan import Field, Plan, Range, ToolPlan, Values

COLORS = ("red", "green", "blue", "brown", "pink", "white")


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
            "price", {"fruit_id": Field("find_fruit", ("fruits", "[]", "id")), "kilos": Range(2, 5)}
        ),
    )
)

# %%

# !{sys.executable} -m tooltrain.cli.record --source=callables --callables=shop:tools --plan=shop:plan --config.suite=fruit --workdir=runs/fruit 2>/dev/null

# %% [markdown]
# ## Traces
#
# The words that people have for the tools are all that synthesis needs beside the cache.

# %%
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
world = open_environment("runs/fruit/cache/fruit.sqlite")
settings = Settings("fruit", grown_workflows=1, max_calls=2, distractors=0, held_out_workflows=0.0)
traces = generate(world, settings, progress=False).splits["train"]
trace = traces[0]
print(len(traces), "training traces; one of them:\n", trace.query)

# %% [markdown]
# ## The gold episode as ids
#
# The chat template writes every control token itself and says who wrote each token. Green is what the
# policy is to write; the rest is never trained on.

# %%
import html

import numpy as np
from IPython.display import HTML, display

from tooltrain.data.chat_template import ChatTemplate, Role
from tooltrain.data.corpus import corpus
from tooltrain.data.pipeline import gold_views
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.types import Call, turns

template = ChatTemplate(train_tokenizer(corpus(traces, world), 512))
tools = [world.tools[name] for name in trace.tools]


def gold_episode(trace):
    """Ids and roles; calls of one dependency level are one turn."""
    of_turn = {}
    for call, view, turn in zip(trace.calls, gold_views(trace, world), turns(trace.calls)):
        calls, views = of_turn.setdefault(turn, ([], []))
        calls.append(Call(call.name, call.arguments))
        views.append(view)
    return template.episode_roles(trace.query, tools, [of_turn[t] for t in sorted(of_turn)])


def draw(tokens, mask, values=None):
    """Tokens as boxes: green if sampled, darker the less likely (values: log-probabilities)."""
    boxes = []
    for i, token in enumerate(tokens):
        text = html.escape(template.text([int(token)])).replace("\n", "⏎")
        shade = 0.25 if values is None else min(1.0, 0.15 + 0.4 * -float(values[i]))
        color = f"rgba(40,160,80,{shade:.2f})" if mask[i] else "#eee"
        boxes.append(
            f'<span style="background:{color};border:1px solid #ccc;padding:0 1px">{text}</span>'
        )
    display(
        HTML(
            '<div style="font:12px monospace;line-height:1.7;word-wrap:break-word">'
            + "".join(boxes)
            + "</div>"
        )
    )


episode = gold_episode(trace)
draw(episode.tokens, episode.roles == Role.POLICY)

# %% [markdown]
# ## Teach a tiny policy the format
#
# A quarter of a million parameters and some seconds: it learns to call and to copy some of the values.

# %%
import jax
import jax.numpy as jnp
import optax

from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer, init_params

config = PolicyConfig(
    vocab_size=template.tokenizer.vocab_size,
    num_layers=2,
    d_model=96,
    num_heads=2,
    num_kv_heads=2,
    head_dim=48,
    d_ff=192,
)
episodes = [gold_episode(t) for t in traces[:64]]
length = max(len(e.tokens) for e in episodes)
pad = lambda x, value=0: np.pad(x, (0, length - len(x)), constant_values=value)
tokens = np.stack([pad(e.tokens) for e in episodes])
mask = np.stack([pad(e.roles == Role.POLICY) for e in episodes])
segments = np.stack([pad(np.ones(len(e.tokens), np.int32)) for e in episodes])
positions = np.tile(np.arange(length, dtype=np.int32), (len(episodes), 1))
model, optimizer = Transformer(config), optax.adam(3e-3)


def loss_fn(params, rows):
    logits = model.apply({"params": params}, tokens_[rows], positions_[rows], segments_[rows])
    nll = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], tokens_[rows][:, 1:])
    weight = mask_[rows][:, 1:]
    return jnp.sum(nll * weight) / jnp.sum(weight)


@jax.jit
def step(params, state, rows):
    loss, gradient = jax.value_and_grad(loss_fn)(params, rows)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, loss


tokens_, mask_, segments_, positions_ = map(jnp.asarray, (tokens, mask, segments, positions))
params = init_params(config, jax.random.key(0))
state, rng = optimizer.init(params), np.random.default_rng(0)
for i in range(30 if SMALL else 300):
    params, state, loss = step(params, state, rng.choice(len(episodes), 16, replace=False))
    if i % 50 == 0:
        print(f"step {i:3d}  loss {loss:.3f} nats a token")

# %% [markdown]
# ## A rollout
#
# Two generations of one prompt, sampled. The policy writes turns; the environment's answers are
# appended as ids; nothing is tokenized twice. Darker green was less likely.

# %%
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import prompt_of, rollouts

engine = Engine(config, num_slots=2, max_len=320, eos_id=template.eos_id)
played = rollouts(
    params,
    [prompt_of(0, trace, template, world)],
    engine=engine,
    environment=world,
    template=template,
    generations=2,
    max_turns=3,
    max_turn_tokens=48,
    seed=1,
)
for rollout in played:
    print(
        [
            (record.turn, str(record.kind), getattr(record.call, "arguments", None))
            for record in rollout.records
        ],
        rollout.end,
    )
    draw(rollout.tokens, rollout.completion_mask, rollout.logprobs)

# %% [markdown]
# ## The log-probabilities are those of a full forward pass
#
# They were recorded while sampling from a KV cache; GRPO compares them with the policy's own, so
# they had better be the same.

# %%
from tooltrain.train.objectives import token_logprobs

rollout = played[0]
row = jnp.asarray(rollout.tokens)[None]
logits = model.apply({"params": params}, row, jnp.arange(row.shape[1])[None])
again = np.asarray(token_logprobs(logits, row))[0]
print(
    "largest difference:", np.abs(again - rollout.logprobs)[rollout.completion_mask].max(), "nats"
)

# %% [markdown]
# ## What an update reads
#
# Both rollouts in one row, as a tree: what they have in common stands there once.

# %%
from tooltrain.train.rollout_batch import pack_rollouts

batch = pack_rollouts(
    played, np.zeros((2, 1)), rows=1, row_len=640, microbatch_rows=1, pad_id=template.pad_id
)
used = int((batch.visible_to[0] < 640).sum())
print(
    sum(len(r.tokens) for r in played),
    "tokens were played; the row holds",
    used,
    "and learns from",
    int(batch.completion_mask.sum()),
)
