"""Tokenizers of published models: a directory as the hub has it."""

from __future__ import annotations

import json

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from tooltrain.data.tokenizer_files import load_tokenizer, model_directory
from tooltrain.errors import UserError


@pytest.fixture
def directory(tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    model.add_special_tokens(["<|begin|>", "<|end|>", "<|pad|>"])
    model.add_tokens(["<tool_call>"])
    # What a fast tokenizer may bring along and a policy has no use for:
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 256)]
    )
    model.enable_truncation(4)
    model.enable_padding(length=16)
    model.save(str(tmp_path / "tokenizer.json"))
    settings = {"eos_token": {"content": "<|end|>"}, "pad_token": "<|pad|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_a_directory_s_tokenizer_neither_begins_cuts_nor_pads_texts(directory):
    tokenizer = load_tokenizer(directory)
    assert (tokenizer.eos_id, tokenizer.pad_id) == (257, 258)
    text = "any <tool_call> text"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text)


def test_without_a_padding_token_the_end_pads(directory):
    (directory / "tokenizer_config.json").write_text('{"eos_token": "<|end|>", "pad_token": null}')
    assert load_tokenizer(directory).pad_id == 257


def test_what_is_missing_is_named(directory):
    (directory / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match="names no eos_token"):
        load_tokenizer(directory)
    (directory / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    with pytest.raises(UserError, match=r"lacks the special tokens \['</s>', '</s>'\]"):
        load_tokenizer(directory)
    (directory / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config\.json is no JSON"):
        load_tokenizer(directory)
    (directory / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer_config\.json in"):
        load_tokenizer(directory)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json in"):
        load_tokenizer(directory)


def test_what_export_copies_is_downloaded_with_the_weights(monkeypatch, tmp_path):
    """So that a machine without a network can export what it has trained."""
    asked = []

    def download(name, allow_patterns):
        asked.extend(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert model_directory("owner/name") == tmp_path
    names = {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {*asked} == names | {"*.safetensors*"}


def test_a_hub_id_without_a_network_is_one_clear_error(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"could not download some-owner/some-model from the hub"):
        model_directory("some-owner/some-model")
    for no_id in ("some-model", "a/b/c", "./a", "/a"):
        with pytest.raises(UserError, match="neither a directory"):
            model_directory(no_id)
