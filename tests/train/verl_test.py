"""The GRPO loss beside verl's token-mean actor loss, written anew from its definition.

    ratio   exp(clip(log pi - log pi_old, -20, 20))
    policy  mean over sampled tokens of max(-A ratio, -A clip(ratio, 1 - low, 1 + high)), and where
            A < 0 at most -3 A (dual clip, arXiv 1912.09729)
    kl      mean over sampled tokens of clip(exp(d) - d - 1, -10, 10), d = log ref - log pi
    loss    policy + coefficient * kl

Source: verl's `core_algos.py`, its policy loss "vanilla", loss aggregation "token-mean" and KL
"low_var_kl", as of 0.5. We have neither the outer clips nor the dual one: equal wherever those do
not bind, which is so in these inputs and asserted.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.train import objectives
from tooltrain.types import GRPOBatch

B, E, V = 6, 20, 40
LOW, HIGH, COEFFICIENT, DUAL_CLIP = 0.2, 0.28, 0.1, 3.0


def inputs() -> tuple[np.ndarray, GRPOBatch]:
    """Logits of every target, and rollouts of several lengths, padded."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (B, E, V)).astype(np.float32)
    targets = rng.integers(0, V, (B, E), dtype=np.int32)
    mask = (np.arange(E)[None] < rng.integers(8, E + 1, (B, 1))).astype(np.float32)
    own = np.asarray(objectives.target_statistics(logits, targets).logprobs)
    noise = rng.normal(0, 1, (2, B, E)).astype(np.float32)
    rewards = jnp.asarray(rng.random((2, B // 2), np.float32))
    advantages = np.asarray(objectives.group_advantages(rewards)).reshape(B, 1)
    unread = np.zeros((B, 1), np.int32)
    batch = GRPOBatch(
        tokens=unread,
        positions=unread,
        visible_to=unread,
        predictors=unread,
        targets=targets,
        completion_mask=mask,
        rollout_ids=np.zeros((B, E), np.int32),
        old_logprobs=mask * (own + 0.3 * noise[0]),
        ref_logprobs=mask * (own + 0.2 * noise[1]),
        advantages=mask * advantages,
    )
    return logits, batch


def ours(logits, batch: GRPOBatch):
    statistics = objectives.target_statistics(logits, jnp.asarray(batch.targets))
    weights = objectives.loss_weights(jnp.asarray(batch.completion_mask))
    return objectives.grpo_loss(
        statistics,
        jax.tree.map(jnp.asarray, batch),
        weights,
        epsilon_low=LOW,
        epsilon_high=HIGH,
        kl_coefficient=COEFFICIENT,
    )


def in_numpy(logits: np.ndarray, batch: GRPOBatch) -> tuple[dict[str, float], np.ndarray]:
    """verl's loss in float64 and its gradient in the logits, by hand."""
    logits, mask = logits.astype(np.float64), batch.completion_mask > 0
    logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    own = np.take_along_axis(logprobs, batch.targets[..., None], axis=-1)[..., 0]

    ratio = np.exp(own - batch.old_logprobs)
    advantage = batch.advantages.astype(np.float64)
    plain, held = -advantage * ratio, -advantage * np.clip(ratio, 1 - LOW, 1 + HIGH)
    difference = batch.ref_logprobs - own
    kl = np.exp(difference) - difference - 1
    assert np.all(ratio[mask & (advantage < 0)] < DUAL_CLIP)
    assert np.all(kl[mask] < 10)

    policy = np.maximum(plain, held)[mask].mean()
    values = {
        "policy_loss": policy,
        "kl": kl[mask].mean(),
        "clip_fraction": (held > plain)[mask].mean(),
        "loss": policy + COEFFICIENT * kl[mask].mean(),
    }
    # d loss / d log pi of a sampled token; then d log pi / d logits = [v is it] - p_v.
    of_logprob = np.where(held > plain, 0.0, plain) + COEFFICIENT * (1 - np.exp(difference))
    of_logprob = np.where(mask, of_logprob, 0.0) / mask.sum()
    return values, of_logprob[..., None] * (np.eye(V)[batch.targets] - np.exp(logprobs))


def check(found: dict, gradient, want: dict[str, float], want_gradient: np.ndarray) -> None:
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    scale = np.abs(want_gradient).max()
    np.testing.assert_allclose(gradient, want_gradient, rtol=0, atol=1e-5 * scale)
    norm = np.linalg.norm(want_gradient)
    np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=1e-5)


def test_the_loss_and_its_gradient_are_verls():
    logits, batch = inputs()
    gradient, (loss, metrics) = jax.grad(
        lambda x: (lambda out: (out[0], out))(ours(x, batch)), has_aux=True
    )(jnp.asarray(logits))
    want, want_gradient = in_numpy(logits, batch)
    assert 0.1 < want["clip_fraction"] < 0.9
    check({**metrics, "loss": loss}, gradient, want, want_gradient)


@pytest.mark.peers
@pytest.mark.slow
def test_the_loss_and_its_gradient_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'tooltrain[peers]'")
    logits, batch = inputs()
    gradient, (loss, metrics) = jax.grad(
        lambda x: (lambda out: (out[0], out))(ours(x, batch)), has_aux=True
    )(jnp.asarray(logits))

    made = torch.tensor(logits, requires_grad=True)
    sampled, old, reference, advantage = (
        torch.from_numpy(x)
        for x in (batch.completion_mask, batch.old_logprobs, batch.ref_logprobs, batch.advantages)
    )
    ids = torch.from_numpy(batch.targets.astype(np.int64))
    own = torch.log_softmax(made, dim=-1).gather(-1, ids[..., None])[..., 0]

    def token_mean(x):
        return (x * sampled).sum() / sampled.sum()

    ratio = torch.exp(torch.clamp(own - old, -20, 20))
    plain, held = -advantage * ratio, -advantage * torch.clamp(ratio, 1 - LOW, 1 + HIGH)
    worse = torch.maximum(plain, held)
    dual = torch.where(advantage < 0, torch.minimum(worse, -advantage * DUAL_CLIP), worse)
    difference = torch.clamp(reference - own, -20, 20)
    kl = torch.clamp(torch.exp(difference) - difference - 1, -10, 10)
    values = {
        "policy_loss": token_mean(dual),
        "kl": token_mean(kl),
        "clip_fraction": token_mean((held > plain).float()),
        "loss": token_mean(dual) + COEFFICIENT * token_mean(kl),
    }
    values["loss"].backward()
    want = {name: float(value.detach()) for name, value in values.items()}
    check({**metrics, "loss": loss}, gradient, want, made.grad.numpy())
