"""A published model as a policy: from its directory, the hub, or a GGUF file."""

from __future__ import annotations

import os
from typing import Any

from jax.sharding import Mesh

from tooltrain.data.tokenizer_files import model_directory, read_json
from tooltrain.data.tokenizer_gguf import open_gguf
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.gguf import gguf_config, load_gguf
from tooltrain.policy.hf_config import config_from_hf
from tooltrain.policy.transformer import Params
from tooltrain.policy.weights import load_safetensors


def from_pretrained(
    source: str | os.PathLike[str], mesh: Mesh | None = None, **settings: Any
) -> tuple[PolicyConfig, Params]:
    """Config and float32 parameters. Its tokenizer: `tokenizer_files.load_tokenizer(source)`.

    source: a directory with config.json and safetensors, a hub id like owner/name (needs
    `tooltrain[hub]` and a network), or a .gguf file. mesh: parameters are placed by the rules
    of tooltrain/sharding.py; None: on the first device. settings: what a checkpoint does not
    decide (dtype, remat, attention).
    Raises UserError for files that are missing or a model that the decoder does not have, and
    one of the five `WeightsError`s for a checkpoint that does not fit its config.
    """
    if str(source).endswith(".gguf"):
        return load_gguf(source, mesh, **settings)
    directory = model_directory(source)
    config = config_from_hf(read_json(directory / "config.json"), **settings)
    return config, load_safetensors(directory, config, mesh)


def pretrained_config(source: str | os.PathLike[str], **settings: Any) -> PolicyConfig:
    """The config of `from_pretrained(source)` alone; no weight is read."""
    if str(source).endswith(".gguf"):
        return gguf_config(open_gguf(source), **settings)
    return config_from_hf(read_json(model_directory(source) / "config.json"), **settings)
