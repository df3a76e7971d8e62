"""A model's own `config.json` <-> `PolicyConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig, RopeScaling

# model_type -> does it normalise queries and keys
MODEL_TYPES = {"llama": False, "qwen3": True}

# Fields that change the arithmetic, with the only values the decoder has.
_ONLY = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
    "partial_rotary_factor": (1.0,),
}


def config_from_hf(described: Mapping[str, Any], **settings: Any) -> PolicyConfig:
    """The policy that a `config.json` of model_type llama or qwen3 describes.

    settings: what a checkpoint does not decide (dtype, remat, attention).
    Raises UserError, naming the field, for a model that the decoder does not have.
    """
    kind = described.get("model_type")
    if kind not in MODEL_TYPES:
        raise UserError(
            f"config.json has model_type {kind!r}; the decoder has {sorted(MODEL_TYPES)} (SmolLM2 "
            "is a llama)"
        )
    for name, allowed in _ONLY.items():
        if described.get(name) not in (None, *allowed):
            raise UserError(
                f"config.json has {name} {described[name]!r}; the decoder has {allowed[0]!r} only"
            )
    layer_types = set(described.get("layer_types") or ())
    if layer_types - {"full_attention"}:
        raise UserError(
            f"config.json has layer_types {sorted(layer_types)}; the decoder has 'full_attention'"
        )

    def needed(name: str) -> Any:
        if described.get(name) is None:
            raise UserError(f"config.json has no {name}; copy the model's whole config.json")
        return described[name]

    heads = needed("num_attention_heads")
    theta, scaling = _rope(described)
    return PolicyConfig(
        vocab_size=needed("vocab_size"),
        num_layers=needed("num_hidden_layers"),
        d_model=needed("hidden_size"),
        num_heads=heads,
        num_kv_heads=described.get("num_key_value_heads") or heads,
        head_dim=described.get("head_dim") or needed("hidden_size") // heads,
        d_ff=needed("intermediate_size"),
        rope_theta=theta,
        rope_scaling=scaling,
        norm_eps=described.get("rms_norm_eps", 1e-6),
        qk_norm=MODEL_TYPES[kind],
        # Written out by every model that ties; both model types default to not tied.
        tie_embeddings=bool(described.get("tie_word_embeddings", False)),
        **settings,
    )


def hf_config(
    config: PolicyConfig, *, max_len: int, eos_id: int | None = None, dtype: str = "float32"
) -> dict[str, Any]:
    """The `config.json` that makes Hugging Face's transformers build the same model.

    max_len: tokens, for max_position_embeddings. dtype: of the tensors that lie beside it.
    """
    described = {
        "architectures": ["Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"],
        "model_type": "qwen3" if config.qk_norm else "llama",
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "max_position_embeddings": max_len,
        "bos_token_id": None,
        "eos_token_id": eos_id,
        "torch_dtype": dtype,
    }
    if config.rope_scaling is not None:
        described["rope_scaling"] = {
            "rope_type": "llama3",
            "factor": config.rope_scaling.factor,
            "low_freq_factor": config.rope_scaling.low_freq_factor,
            "high_freq_factor": config.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": config.rope_scaling.original_max_len,
        }
    return described


def _rope(described: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """(base, scaling), from `rope_theta` and `rope_scaling` or, since transformers 5, from
    `rope_parameters`."""
    scaling = described.get("rope_parameters") or described.get("rope_scaling") or {}
    theta = float(scaling.get("rope_theta") or described.get("rope_theta") or 10_000.0)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise UserError(
            f"config.json scales rotary frequencies by {kind!r}; the decoder has 'llama3' and "
            "'default'"
        )
    return theta, RopeScaling(
        factor=float(scaling["factor"]),
        low_freq_factor=float(scaling["low_freq_factor"]),
        high_freq_factor=float(scaling["high_freq_factor"]),
        original_max_len=int(scaling["original_max_position_embeddings"]),
    )
