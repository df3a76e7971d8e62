"""How far log-probabilities at sampling are from the update's, by dtype, as one JSON object.

    python -m benchmarks.sampling_mismatch --model=SmolLM2-135M-Instruct.Q4_1.gguf

The engine samples 64 tokens a prompt at temperature 1 through its cache; then the same tokens are
scored as an update scores them, by one forward pass over whole rows. d is the update's
log-probability less the recorded one, in nats a token: 0 in exact arithmetic. exp(d) is the
importance ratio that a first update sees, so `clipped` is the share of tokens that epsilon 0.2
would clip though the policy has not moved.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import machine
from tooltrain.data.chat_template_models import chat_template
from tooltrain.data.tokenizer_files import load_tokenizer
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.transformer import Params, Transformer
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.sampling import Sampling

NEW, NO_EOS = 64, -1
PLACES = ("Rome", "Oslo", "Lima", "Bern", "Cairo", "Quito", "Delhi", "Perth")
ASKED = ("a hotel", "a flight", "a taxi", "the weather")


def sampled(config: PolicyConfig, params: Params, prompts: list[list[int]]):
    """Rows of prompt and sampled tokens, padded at the end, and the recorded log-probabilities."""
    longest = max(map(len, prompts))
    engine = Engine(config, num_slots=len(prompts), max_len=longest + NEW, eos_id=NO_EOS, steps=NEW)
    engine.prefill(params, {slot: prompt[:-1] for slot, prompt in enumerate(prompts)})
    requests = {slot: Request(p[-1], NEW, slot, 0) for slot, p in enumerate(prompts)}
    out = engine.decode(params, requests, sampling=Sampling(), seed=0)
    tokens = np.zeros((len(prompts), longest + NEW), np.int32)
    recorded = np.full(tokens.shape, np.nan, np.float32)
    for slot, prompt in enumerate(prompts):
        ids, logprobs = out[slot]
        row = [*prompt, *ids.tolist()]
        tokens[slot, : len(row)] = row
        recorded[slot, len(prompt) : len(row)] = logprobs
    return tokens, recorded


def scored(config: PolicyConfig, params: Params, tokens: np.ndarray) -> np.ndarray:
    """Log-probability of each token but the first, by a full forward pass."""
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)

    @jax.jit
    def forward(params, tokens, positions):
        logits = Transformer(config).apply({"params": params}, tokens, positions)[:, :-1]
        chosen = jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1)

    return np.asarray(forward(params, tokens, positions))


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, help="directory, .gguf file or hub id")
    given = flags.parse_args()
    config, params = from_pretrained(given.model)
    template = chat_template(load_tokenizer(given.model))
    prompts = [
        template.prompt(f"Find me {what} in {place}, please.", [])
        for place in PLACES
        for what in ASKED
    ]
    report: dict[str, object] = {"machine": machine(), "tokens": len(prompts) * NEW}
    for sampling, update in (
        ("float32", "float32"),
        ("bfloat16", "bfloat16"),
        ("bfloat16", "float32"),
    ):
        tokens, recorded = sampled(dataclasses.replace(config, dtype=sampling), params, prompts)
        new = scored(dataclasses.replace(config, dtype=update), params, tokens)
        d = (new - recorded[:, 1:])[~np.isnan(recorded[:, 1:])].astype(np.float64)
        report[f"sampled in {sampling}, updated in {update}"] = {
            "mean": float(d.mean()),
            "mean_absolute": float(np.abs(d).mean()),
            "p99_absolute": float(np.quantile(np.abs(d), 0.99)),
            "largest": float(np.abs(d).max()),
            "kl_k3": float((np.exp(d) - 1 - d).mean()),
            "clipped": float((np.abs(np.exp(d) - 1) > 0.2).mean()),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
