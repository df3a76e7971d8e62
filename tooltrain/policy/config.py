"""The shape of a policy: one decoder family (Llama, SmolLM2, Qwen3), told apart by config."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

ATTENTION_IMPLEMENTATIONS = ("auto", "xla", "cudnn", "splash")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Llama 3's stretching of the rotary frequencies to contexts longer than it was trained on.

    Wavelengths (tokens a turn) below original_max_len / high_freq_factor stay; those above
    original_max_len / low_freq_factor become `factor` times as long; between the two the
    frequency is interpolated.

    Source: rope_type "llama3" in the config.json of Llama 3.1 (8, 1, 4, 8192) and 3.2 (32, ...).
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_len: int

    def __post_init__(self):
        if self.factor < 1 or not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"policy.rope_scaling is {self}; factor must be 1 or more and "
                "0 < low_freq_factor < high_freq_factor."
            )


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """A decoder-only transformer. Hashable, so that it can be a static argument of `jit`.

    vocab_size V, num_layers L, d_model D, num_heads N, num_kv_heads K (divides N),
    head_dim H (even), d_ff: width of the SwiGLU.
    rope_theta: base of the rotary frequencies, rope_scaling: how they are stretched (None: not).
    norm_eps: added to the mean square.
    qk_norm: RMSNorm over H on queries and keys, as Qwen3. tie_embeddings: logits use the
    embedding matrix, as SmolLM2 and the small Qwen3.
    dtype: of activations and of the KV cache; parameters and logits are always float32.
    remat: recompute a layer's activations in the backward pass (less memory, more time).
    attention: "xla", "cudnn" (bfloat16 on a GPU only), "splash" (for TPUs; interpreted, so very
    slow, elsewhere), or "auto": what suits the backend.

    Raises ValueError, naming the field, for a shape the decoder cannot have.
    """

    vocab_size: int
    num_layers: int
    d_model: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    d_ff: int
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    qk_norm: bool = True
    tie_embeddings: bool = True
    dtype: str = "float32"
    remat: bool = False
    attention: str = "auto"
    rope_scaling: RopeScaling | None = None

    def __post_init__(self):
        for name in ("vocab_size", "num_layers", "d_model", "num_heads", "num_kv_heads", "d_ff"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"policy.{name} is {value!r}; it must be an integer of 1 or more.")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"policy.num_heads is {self.num_heads} and num_kv_heads {self.num_kv_heads}; each "
                "key/value head serves the same number of query heads, so the first must be a "
                "multiple of the second."
            )
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(
                f"policy.head_dim is {self.head_dim}; rotary embedding turns pairs of dimensions, "
                "so it must be even and 2 or more."
            )
        if self.dtype not in DTYPES:
            raise ValueError(f"policy.dtype is {self.dtype!r}; allowed: {', '.join(DTYPES)}.")
        if self.attention not in ATTENTION_IMPLEMENTATIONS:
            raise ValueError(
                f"policy.attention is {self.attention!r}; allowed: "
                f"{', '.join(ATTENTION_IMPLEMENTATIONS)}."
            )

    @property
    def compute_dtype(self):
        return DTYPES[self.dtype]
