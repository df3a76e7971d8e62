"""A policy as a Hugging Face checkpoint: config.json and safetensors that transformers loads."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import ml_dtypes
import numpy as np

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.chat_template_jinja import chat_jinja
from tooltrain.data.tokenizer_files import model_directory
from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.hf_config import hf_config
from tooltrain.policy.transformer import Params
from tooltrain.policy.weights import Exported, hf_tensors

# Of a published model's directory: what says how its text becomes ids.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

_DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


def export_safetensors(
    directory: str | os.PathLike[str],
    config: PolicyConfig,
    params: Params,
    *,
    max_len: int,
    eos_id: int | None = None,
    dtype: str = "float32",
    max_shard_bytes: int = 5 * 10**9,
) -> None:
    """Writes config.json and the parameters, in one file or, above max_shard_bytes, in several
    with an index. The host holds one shard.

    max_len: the longest context, tokens. Raises UserError if the directory already has
    safetensors (old shards among new ones would be a broken checkpoint) or for a dtype that is
    neither float32 nor bfloat16.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise UserError(
            "writing safetensors needs the package `safetensors`: pip install 'tooltrain[hub]'"
        ) from error
    if dtype not in _DTYPES:
        raise UserError(f"cannot export as {dtype!r}; allowed: {', '.join(_DTYPES)}")
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.glob("*.safetensors*")):
        raise UserError(f"{directory} already holds safetensors; export to an empty directory")

    itemsize = np.dtype(_DTYPES[dtype]).itemsize
    shards: list[list[Exported]] = [[]]
    room = max_shard_bytes
    for tensor in hf_tensors(config, params):
        if shards[-1] and tensor.size * itemsize > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(tensor)
        room -= tensor.size * itemsize

    weight_map = {}
    for number, shard in enumerate(shards, 1):
        name = "model.safetensors"
        if len(shards) > 1:
            name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        held = {t.name: t.fetch().astype(_DTYPES[dtype], copy=False) for t in shard}
        # "pt": transformers refuses a file that does not say so.
        save_file(held, directory / f".{name}", metadata={"format": "pt"})
        (directory / f".{name}").rename(directory / name)
        weight_map |= dict.fromkeys(held, name)
    if len(shards) > 1:
        total = itemsize * sum(tensor.size for shard in shards for tensor in shard)
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    described = hf_config(config, max_len=max_len, eos_id=eos_id, dtype=dtype)
    (directory / "config.json").write_text(json.dumps(described, indent=2) + "\n")


def export_policy(
    directory: str | os.PathLike[str],
    config: PolicyConfig,
    params: Params,
    template: ChatTemplate,
    *,
    max_len: int,
    source: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
) -> None:
    """`export_safetensors`, and beside it what makes text into the ids that were trained on:
    tokenizer.json, and tokenizer_config.json with the chat template.

    source: the directory or hub id of the published model that `template` belongs to, whose own
    files are copied; None or a .gguf file: they are written for tooltrain's template.
    Raises what `export_safetensors` does, what `model_directory` does, and UserError for the
    template of a published family without a source of its files.
    """
    directory = pathlib.Path(directory)
    if source is not None and not str(source).endswith(".gguf"):
        published = model_directory(source, _TOKENIZER_FILES)
        copied = [published / name for name in _TOKENIZER_FILES]
        described = None
    else:
        copied = []
        control = {id_: token for token, id_ in template.tokenizer.control_ids.items()}
        described = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": control[template.eos_id],
            "pad_token": control[template.pad_id],
            "model_max_length": max_len,
            "clean_up_tokenization_spaces": False,
            "chat_template": chat_jinja(template),
        }
    export_safetensors(
        directory, config, params, max_len=max_len, eos_id=template.eos_id, dtype=dtype
    )
    for path in copied:
        if path.is_file():
            shutil.copyfile(path, directory / path.name)
    if described is not None:
        template.tokenizer.save(directory / "tokenizer.json")
        text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
        (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
