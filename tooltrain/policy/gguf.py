"""Weights and config out of a GGUF file, dequantized to float32.

llama.cpp turns the rotary pairs (0, 1), (2, 3), ... of a llama where Hugging Face turns (0, H/2),
(1, H/2 + 1), ...; files of llamas therefore hold the rows of queries and keys in another order,
which is undone here. Those of Qwen3 hold them as they are.

Source: llama.cpp's convert_hf_to_gguf.py (names, permutation, rope_freqs).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh

from tooltrain.data.tokenizer_gguf import field, open_gguf
from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig, RopeScaling
from tooltrain.policy.layers import rope_factors
from tooltrain.policy.transformer import Params
from tooltrain.policy.weights import find, place

if TYPE_CHECKING:
    import gguf

TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K")

_ROPE_FACTORS = "rope_freqs.weight"
# A GGUF keeps what the scaling does to each frequency and not its settings.
_KNOWN_SCALINGS = (RopeScaling(8.0, 1.0, 4.0, 8192), RopeScaling(32.0, 1.0, 4.0, 8192))


def load_gguf(
    path: str | os.PathLike[str], mesh: Mesh | None = None, **settings: Any
) -> tuple[PolicyConfig, Params]:
    """Config and float32 parameters of a GGUF file of architecture llama or qwen3.

    mesh, settings: as `from_pretrained`. The host has one dequantized tensor at a time.
    Raises UserError for another architecture or a quantization that is not one of `TYPES`,
    and the five `WeightsError`s.
    """
    reader = open_gguf(path)
    config = gguf_config(reader, **settings)
    permuted = field(reader, "general.architecture") == "llama"
    tensors = [
        (tensor.name, _Dequantized(tensor, config, permuted))
        for tensor in reader.tensors
        if tensor.name != _ROPE_FACTORS
    ]
    return config, place(config, tensors, "gguf", mesh)


def gguf_config(reader: gguf.GGUFReader, **settings: Any) -> PolicyConfig:
    """The policy that a file's metadata describes."""
    kind = field(reader, "general.architecture")
    if kind not in ("llama", "qwen3"):
        raise UserError(
            f"the GGUF file is of architecture {kind!r}; the decoder has llama and qwen3"
        )
    heads = int(field(reader, f"{kind}.attention.head_count"))
    d_model = int(field(reader, f"{kind}.embedding_length"))
    head_dim = int(field(reader, f"{kind}.attention.key_length", d_model // heads))
    theta = float(field(reader, f"{kind}.rope.freq_base", 10_000.0))
    names = {tensor.name for tensor in reader.tensors}
    return PolicyConfig(
        vocab_size=len(field(reader, "tokenizer.ggml.tokens")),
        num_layers=int(field(reader, f"{kind}.block_count")),
        d_model=d_model,
        num_heads=heads,
        num_kv_heads=int(field(reader, f"{kind}.attention.head_count_kv", heads)),
        head_dim=head_dim,
        d_ff=int(field(reader, f"{kind}.feed_forward_length")),
        rope_theta=theta,
        rope_scaling=_scaling(reader, kind, head_dim, theta),
        norm_eps=float(field(reader, f"{kind}.attention.layer_norm_rms_epsilon")),
        qk_norm=kind == "qwen3",
        tie_embeddings="output.weight" not in names,
        **settings,
    )


def _scaling(reader: gguf.GGUFReader, kind: str, head_dim: int, theta: float) -> RopeScaling | None:
    other = field(reader, f"{kind}.rope.scaling.type", "none")
    divisors = [t.data for t in reader.tensors if t.name == _ROPE_FACTORS]
    if other != "none" or len(divisors) > 1:
        raise UserError(
            f"the GGUF file scales rotary frequencies by {other!r}; the decoder has Llama 3's way"
        )
    if not divisors:
        return None
    for scaling in _KNOWN_SCALINGS:
        want = 1 / rope_factors(head_dim, theta, scaling)
        if want.shape == divisors[0].shape and np.allclose(want, divisors[0], rtol=1e-4):
            return scaling
    raise UserError(
        f"the GGUF file's {_ROPE_FACTORS} are not those of Llama 3.1 or 3.2; load the model from "
        "its config.json and safetensors"
    )


class _Dequantized:
    """A tensor of a GGUF file with its rows in Hugging Face's order."""

    def __init__(self, tensor: gguf.ReaderTensor, config: PolicyConfig, permuted: bool):
        if tensor.tensor_type.name not in TYPES:
            raise UserError(
                f"tensor {tensor.name!r} of the GGUF file is {tensor.tensor_type.name}; read are "
                f"{', '.join(TYPES)}: quantize the model anew"
            )
        self.shape = tuple(int(size) for size in reversed(tensor.shape))
        self._tensor = tensor
        self._rows = np.arange(self.shape[0])
        at = find(tensor.name, "gguf")
        if permuted and at and at.entry.parameter in ("layers/query", "layers/key"):
            pairs = self._rows.reshape(-1, config.head_dim // 2, 2)
            self._rows = pairs.swapaxes(1, 2).ravel()

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        from gguf.quants import dequantize

        # Blocks run along a row, so rows can be taken before they are dequantized.
        rows = dequantize(self._tensor.data[self._rows[index[0]]], self._tensor.tensor_type)
        return rows[(slice(None), *index[1:])]
