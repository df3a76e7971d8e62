"""The tokenizer that a GGUF file carries: its vocabulary and merges behind `Tokenizer`.

A GGUF names how text is split before the merges (`tokenizer.ggml.pre`) and does not describe
it; the splits below are those of the models' own tokenizer.json, as llama.cpp has them.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tooltrain.data.tokenizer import Tokenizer
from tooltrain.errors import UserError

if TYPE_CHECKING:
    import gguf

# Of tokenizer.ggml.token_type; a tokenizer must match both before it splits text.
_CONTROL, _USER_DEFINED = 3, 4

# Words with the sign before them, digits (groups of how many: {}), punctuation with the line
# breaks after it, white space. Llama 3 takes digits by three, Qwen one by one.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def open_gguf(path: str | os.PathLike[str]) -> gguf.GGUFReader:
    """A memory-mapped reader of a GGUF file.

    Raises UserError if there is no such file, it is no GGUF, or the package `gguf` is not
    installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise UserError(
            "reading a GGUF file needs the package `gguf`: pip install 'tooltrain[hub]'"
        ) from error
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"no GGUF file at {path}")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise UserError(f"{path} is no GGUF file: it begins with {magic!r}, not b'GGUF'")
    return gguf.GGUFReader(path)


def field(reader: gguf.GGUFReader, name: str, default: object = None) -> object:
    """A metadata value, or `default`. Raises UserError if it is missing and has no default."""
    found = reader.get_field(name)
    if found is not None:
        return found.contents()
    if default is None:
        raise UserError(f"the GGUF file has no metadata field {name!r}; convert the model anew")
    return default


def gguf_tokenizer(reader: gguf.GGUFReader) -> Tokenizer:
    """The byte-level BPE of a GGUF file; equal to the tokenizer.json it was converted from.

    Raises UserError for another kind of vocabulary or an unknown way of splitting text.
    """
    kind, split = field(reader, "tokenizer.ggml.model"), field(reader, "tokenizer.ggml.pre")
    if kind != "gpt2" or split not in _PRE_TOKENIZERS:
        raise UserError(
            f"the GGUF file's tokenizer is {kind!r} split as {split!r}; read are 'gpt2' "
            f"vocabularies split as one of {sorted(_PRE_TOKENIZERS)}: use the model's own "
            "tokenizer.json instead"
        )
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(pair.split(" ")) for pair in field(reader, "tokenizer.ggml.merges")]
    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    # Llama 3 takes a whole word that is in the vocabulary before it merges.
    model = tokenizers.Tokenizer(
        models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=split == "llama-bpe")
    )
    model.pre_tokenizer = _PRE_TOKENIZERS[split]
    model.decoder = decoders.ByteLevel()
    if split == "qwen2":
        model.normalizer = normalizers.NFC()
    special = [t for t, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    defined = [t for t, kind in zip(tokens, types, strict=True) if kind == _USER_DEFINED]
    model.add_special_tokens(special)
    model.add_tokens(defined)
    end = tokens[field(reader, "tokenizer.ggml.eos_token_id")]
    pad = tokens[field(reader, "tokenizer.ggml.padding_token_id", vocabulary[end])]
    return Tokenizer(model, end=end, pad=pad)


def _split_by(digits: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_SPLIT.format(digits)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


_PRE_TOKENIZERS = {
    "smollm": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    ),
    "llama-bpe": _split_by("{1,3}"),
    "qwen2": _split_by(""),
}
