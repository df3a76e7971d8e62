"""Tokenizers of published models: a Hugging Face directory, a hub id, or a GGUF file."""

from __future__ import annotations

import json
import os
import pathlib

import tokenizers

from tooltrain.data.tokenizer import Tokenizer
from tooltrain.data.tokenizer_gguf import gguf_tokenizer, open_gguf
from tooltrain.errors import UserError

# What a policy needs of a published model; repositories hold other formats beside it.
_WANTED = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_WANTED += ("*.safetensors*",)


def load_tokenizer(source: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer of a model directory, a hub id or a GGUF file.

    A directory needs `tokenizer.json` and, for the token that ends a turn, a
    `tokenizer_config.json` with eos_token (and pad_token; without it the end pads).
    Raises UserError, saying what is missing.
    """
    if str(source).endswith(".gguf"):
        return gguf_tokenizer(open_gguf(source))
    directory = model_directory(source, ("tokenizer.json", "tokenizer_config.json"))
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"no tokenizer.json in {directory}; save the model's fast tokenizer there "
            "(sentencepiece models are not read)"
        )
    settings = read_json(directory / "tokenizer_config.json")
    end = _token(settings.get("eos_token"))
    if end is None:
        raise UserError(
            f"{directory}/tokenizer_config.json names no eos_token; it is what ends a turn"
        )
    model = tokenizers.Tokenizer.from_file(str(path))
    model.no_padding()
    model.no_truncation()
    return Tokenizer(model, end=end, pad=_token(settings.get("pad_token")) or end)


def model_directory(
    source: str | os.PathLike[str], wanted: tuple[str, ...] = _WANTED
) -> pathlib.Path:
    """The directory of a published model's files: `source` itself, or a download of hub id
    `source` ("owner/name") in huggingface_hub's cache.

    Raises UserError for what is neither, or if the download fails.
    """
    path = pathlib.Path(source)
    if path.is_dir():
        return path
    name = str(source)
    if path.exists() or name.count("/") != 1 or not all(name.split("/")) or name[0] in "./~":
        raise UserError(
            f"{name} is neither a directory with a model's files nor a hub id like owner/name"
        )
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"downloading {name} needs huggingface_hub: pip install 'tooltrain[hub]', or pass a "
            "directory that holds the model's files"
        ) from error
    try:
        return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=list(wanted)))
    except Exception as error:  # its own, httpx's and requests' errors, by version
        raise UserError(
            f"could not download {name} from the hub ({type(error).__name__}: {error}); check the "
            "id and the network, or pass a directory that holds the model's files"
        ) from error


def read_json(path: pathlib.Path) -> dict:
    """A JSON object. Raises UserError if the file is missing or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {path.name} in {path.parent}; copy it from the model") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); copy it from the model anew") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {type(value).__name__}, not an object")
    return value


def _token(value: object) -> str | None:
    """A token as tokenizer_config.json has it: its text, or an object with it, or null."""
    return value.get("content") if isinstance(value, dict) else value
