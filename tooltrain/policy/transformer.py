"""The policy: tokens in, float32 logits out."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tooltrain.policy import attention, out_first
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.layers import Layer, matrix_init, rms_norm, rope_angles

Params = dict[str, Any]

_MAX_UNROLLED_LAYERS = 8  # more would cost compile time: it grows with every layer


class TrainingLayer(Layer):
    """A layer with causal attention over its own tokens, in the form `nn.scan` wants."""

    def __call__(self, x: Float[Array, "B T D"], angles, segment_ids, visible_to):
        q, k, v = self.project(x, angles)
        attended = attention.causal_attention(
            q, k, v, segment_ids, self.config.attention, visible_to
        )
        return self.merge(x, attended), None


class Transformer(nn.Module):
    """A Llama/Qwen3 decoder.

    Parameters: embedding [V, D]; layers/{attention_norm, query, key, value, output,
    query_norm, key_norm, mlp_norm, gate, up, down}, each stacked with a leading L;
    final_norm [D]; head [D, V] unless the embeddings are tied.
    """

    config: PolicyConfig

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None = None,
        visible_to: Int[Array, "B T"] | None = None,
        at: Int[Array, "B E"] | None = None,
    ) -> Float[Array, "B E V"]:
        """Logits (float32) of what follows the tokens `at` these places of their row; the
        arguments are those of `features`."""
        return _product(*self.features(tokens, positions, segment_ids, visible_to, at))

    @nn.compact
    def features(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None = None,
        visible_to: Int[Array, "B T"] | None = None,
        at: Int[Array, "B E"] | None = None,
    ) -> tuple[Float[Array, "B E D"], Float[Array, "V D"]]:
        """Normalised hidden states and output matrix, whose product the logits are.

        at None: every place, E = T.
        positions: from 0, within the segment. segment_ids: tokens attend to earlier tokens
        of equal id; 0 is padding. None: each row is one segment, and padding must stand
        only at its end (where causality hides it). visible_to: instead of segments, the last
        token that may see each token, for trees of sequences (`attention.causal_mask`).
        """
        c = self.config
        shape = (c.vocab_size, c.d_model)
        embedding = self.param("embedding", nn.initializers.normal(0.02), shape)
        x = embedding[tokens].astype(c.compute_dtype)
        angles = rope_angles(positions, c.head_dim, c.rope_theta, c.rope_scaling)

        layer = TrainingLayer
        if c.remat:
            layer = nn.remat(layer, prevent_cse=False)
        layers = nn.scan(
            layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, nn.broadcast),
            length=c.num_layers,
            unroll=_scan_unroll(c.num_layers),
        )
        x, _ = layers(c, name="layers")(x, angles, segment_ids, visible_to)

        if at is not None:
            x = jnp.take_along_axis(x, at[..., None], axis=1)
        final_norm = self.param("final_norm", nn.initializers.ones, (c.d_model,))
        head = embedding
        if not c.tie_embeddings:
            head = self.param("head", matrix_init(1.0), (c.d_model, c.vocab_size)).T
        return rms_norm(x, final_norm, c.norm_eps), head


def _scan_unroll(num_layers: int) -> int:
    """Layers laid out one after the other in a scan step.

    On a CPU all of a small policy's: a training step of 3 layers took 0.84 of the time that
    the rolled loop takes, whose stacked residuals are copied. Parameters stay stacked.
    """
    small = num_layers <= _MAX_UNROLLED_LAYERS
    return num_layers if small and jax.default_backend() == "cpu" else 1


def head_logits(
    config: PolicyConfig, params: Params, x: Float[Array, "*B D"]
) -> Float[Array, "*B V"]:
    """Final norm and output matrix; products accumulate in float32 whatever the dtype of x.

    params: as `Transformer` has them, or unstacked for decoding.
    """
    h = rms_norm(x, params["final_norm"], config.norm_eps)
    if config.tie_embeddings:
        head = params["embedding"]
    else:
        head = params["head_rows"] if "head_rows" in params else params["head"].T
    return out_first.product(h, head) if out_first.applies(config) else _product(h, head)


def _product(hidden: Float[Array, "*B D"], head: Float[Array, "V D"]) -> Float[Array, "*B V"]:
    return jnp.matmul(hidden, head.T.astype(hidden.dtype), preferred_element_type=jnp.float32)


def init_params(config: PolicyConfig, rng: Array) -> Params:
    """Fresh float32 parameters; a pure function of (config, rng), jitted as one program."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    return jax.jit(Transformer(config).init)(rng, tokens, tokens)["params"]
