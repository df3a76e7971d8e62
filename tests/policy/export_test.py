"""A policy as a directory that others load: nothing missing, nothing of another model."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from tests.policy.conftest import LLAMA3, random_params
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.chat_template_models import Qwen3Template, chat_template
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.data.tokenizer_files import load_tokenizer
from tooltrain.errors import UserError
from tooltrain.policy.export import export_policy
from tooltrain.policy.pretrained import from_pretrained, pretrained_config

TEMPLATE = ChatTemplate(train_tokenizer(["a word", "12"], 300))
PARAMS = random_params(LLAMA3)


def test_what_is_exported_is_loaded_again(tmp_path):
    export_policy(tmp_path, LLAMA3, PARAMS, TEMPLATE, max_len=64)
    config, params = from_pretrained(tmp_path)
    assert config == LLAMA3 == pretrained_config(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)
    again = chat_template(load_tokenizer(tmp_path))
    assert type(again) is ChatTemplate
    assert (again.eos_id, again.pad_id) == (TEMPLATE.eos_id, TEMPLATE.pad_id)
    assert again.prompt("a <|im_end|> 12", []) == TEMPLATE.prompt("a <|im_end|> 12", [])
    described = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert described["model_max_length"] == 64
    assert "<tools>" in described["chat_template"]


def test_a_published_model_keeps_its_own_tokenizer_files(tmp_path):
    source, target = tmp_path / "theirs", tmp_path / "ours"
    source.mkdir()
    own = {"eos_token": "<|im_end|>", "chat_template": "theirs"}
    (source / "tokenizer_config.json").write_text(json.dumps(own))
    TEMPLATE.tokenizer.save(source / "tokenizer.json")
    other = Qwen3Template(TEMPLATE.tokenizer)
    export_policy(target, LLAMA3, PARAMS, other, max_len=64, source=source)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (target / name).read_bytes() == (source / name).read_bytes()
    assert not (target / "chat_template.jinja").exists()


def test_the_tokenizer_files_of_a_hub_id_are_fetched_and_kept(tmp_path, monkeypatch):
    source, target = tmp_path / "theirs", tmp_path / "ours"
    source.mkdir()
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (source / name).write_text(f"their {name}")
    TEMPLATE.tokenizer.save(source / "tokenizer.json")
    asked = {}

    def download(name, allow_patterns):
        asked[name] = allow_patterns
        return str(source)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for template in (Qwen3Template(TEMPLATE.tokenizer), TEMPLATE):
        out = target / type(template).__name__
        export_policy(out, LLAMA3, PARAMS, template, max_len=64, source="owner/name")
        for path in source.iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes()
    names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
    assert asked == {"owner/name": names}


def test_another_model_s_template_without_its_files_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="Qwen3Template is another model's"):
        export_policy(
            tmp_path / "out", LLAMA3, PARAMS, Qwen3Template(TEMPLATE.tokenizer), max_len=64
        )
    assert not (tmp_path / "out").exists()
