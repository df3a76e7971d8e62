"""GGUF files, written here as llama.cpp's converter writes them, come back as they were."""

from __future__ import annotations

import dataclasses
import json

import gguf
import jax
import numpy as np
import pytest
import tokenizers
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, trainers

from tests.policy.conftest import LLAMA3, QWEN3, random_params
from tooltrain.data import tokenizer_gguf
from tooltrain.data.tokenizer_files import load_tokenizer
from tooltrain.errors import UserError
from tooltrain.policy.config import RopeScaling
from tooltrain.policy.gguf import load_gguf
from tooltrain.policy.layers import rope_factors
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.weights import MissingTensor, WrongShape, find, hf_tensors

F32 = gguf.GGMLQuantizationType.F32


def _write(path, config, tensors, kind=None, merges=(), **more):
    """kind: architecture. tensors: {GGUF name: (numbers or raw blocks, type)}."""
    kind = kind or ("qwen3" if config.qk_norm else "llama")
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(config.num_layers)
    writer.add_embedding_length(config.d_model)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    described = {"tokens": [str(i) for i in range(config.vocab_size)], "eos": 1} | more
    writer.add_tokenizer_model(described.get("model", "gpt2"))
    writer.add_tokenizer_pre(described.get("pre", "qwen2"))
    writer.add_token_list(described["tokens"])
    writer.add_token_types(described.get("types", [1] * len(described["tokens"])))
    writer.add_token_merges(list(merges) or ["0 1"])
    writer.add_eos_token_id(described["eos"])
    for name, (array, quantization) in tensors.items():
        writer.add_tensor(name, array, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(config, params, quantization=F32):
    """A policy's tensors under GGUF names, rotary rows paired as in llama.cpp for a llama."""
    made = {}
    for exported in hf_tensors(config, params):
        at, array = find(exported.name, "hf"), exported.fetch()
        if at.entry.parameter in ("layers/query", "layers/key") and not config.qk_norm:
            halves = array.reshape(-1, 2, config.head_dim // 2, array.shape[-1])
            array = halves.swapaxes(1, 2).reshape(array.shape)
        kept = quantization if array.ndim == 2 else F32
        made[at.entry.gguf.format(at.layer)] = (quantize(array, kept), kept)
    if config.rope_scaling is not None:
        factors = 1 / rope_factors(config.head_dim, config.rope_theta, config.rope_scaling)
        made["rope_freqs.weight"] = (factors, F32)
    return made


@pytest.fixture
def published(model):
    """`model` with a RoPE scaling that a published model has."""
    config, params = model
    scaling = config.rope_scaling and RopeScaling(32.0, 1.0, 4.0, 8192)
    return dataclasses.replace(config, rope_scaling=scaling), params


def _assert_close(got, want, atol=0.0):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), got, want)


def test_float32_comes_back_equal(published, tmp_path):
    config, params = published
    _write(tmp_path / "m.gguf", config, _tensors(config, params))
    got_config, got = from_pretrained(tmp_path / "m.gguf")
    assert got_config == dataclasses.replace(config, norm_eps=got_config.norm_eps)
    assert got_config.norm_eps == pytest.approx(config.norm_eps)
    _assert_close(got, params)


@pytest.mark.parametrize("name", ["F16", "BF16", "Q4_0", "Q4_1", "Q8_0"])
def test_quantized_tensors_come_back_as_their_blocks_say(published, tmp_path, name):
    config, params = published
    quantization = gguf.GGMLQuantizationType[name]
    _write(tmp_path / "m.gguf", config, _tensors(config, params, quantization))
    _, got = load_gguf(tmp_path / "m.gguf")
    up = params["layers"]["up"][2].T  # (out, in): blocks run along the inputs
    want = dequantize(quantize(np.asarray(up), quantization), quantization).T
    np.testing.assert_array_equal(got["layers"]["up"][2], want)
    _assert_close(got, params, atol={"F16": 2e-3, "BF16": 2e-2, "Q8_0": 2e-2}.get(name, 0.4))


def _q6_k(block: bytes) -> np.ndarray:
    """256 numbers of a Q6_K block: 128 bytes of low nibbles, 64 of high pairs of bits, 16
    int8 scales (one for 16 numbers), a float16 scale; number = scale * scale16 * (q - 32)."""
    low = np.frombuffer(block[:128], np.uint8)
    high = np.frombuffer(block[128:192], np.uint8)
    scales = np.frombuffer(block[192:208], np.int8)
    d = np.frombuffer(block[208:], np.float16)[0].astype(np.float32)
    out = np.zeros(256, np.float32)
    for half in range(2):
        for quarter in range(4):
            for i in range(32):
                nibbles = low[64 * half + 32 * (quarter % 2) + i] >> (4 * (quarter // 2)) & 15
                bits = high[32 * half + i] >> (2 * quarter) & 3
                at = 128 * half + 32 * quarter + i
                out[at] = d * scales[at // 16] * (int(nibbles | bits << 4) - 32)
    return out


def _q4_k(block: bytes) -> np.ndarray:
    """256 numbers of a Q4_K block: two float16 (scale, min), 12 bytes of eight 6-bit scales
    and mins, 128 bytes of nibbles; number = d * scale32 * q - dmin * min32."""
    d, dmin = np.frombuffer(block[:4], np.float16).astype(np.float32)
    packed = np.frombuffer(block[4:16], np.uint8).astype(int)
    quants = np.frombuffer(block[16:], np.uint8)
    out = np.zeros(256, np.float32)
    for group in range(8):
        if group < 4:
            scale, least = packed[group] & 63, packed[group + 4] & 63
        else:
            scale = packed[group + 4] & 15 | packed[group - 4] >> 6 << 4
            least = packed[group + 4] >> 4 | packed[group] >> 6 << 4
        bytes_ = quants[32 * (group // 2) : 32 * (group // 2) + 32]
        nibbles = bytes_ >> 4 if group % 2 else bytes_ & 15
        out[32 * group : 32 * group + 32] = d * scale * nibbles - dmin * least
    return out


@pytest.mark.parametrize(("name", "size", "read"), [("Q4_K", 144, _q4_k), ("Q6_K", 210, _q6_k)])
def test_k_quants_are_read_block_by_block(tmp_path, name, size, read):
    config = dataclasses.replace(QWEN3, d_model=256, num_layers=1, vocab_size=8)
    params = random_params(config)
    tensors = _tensors(config, params)
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (config.d_ff, size), np.uint8)
    halves = rng.uniform(0.001, 0.01, (config.d_ff, 2)).astype(np.float16).view(np.uint8)
    blocks[:, slice(0, 4) if name == "Q4_K" else slice(208, 210)] = (
        halves if name == "Q4_K" else halves[:, :2]
    )
    tensors["blk.0.ffn_up.weight"] = (blocks, gguf.GGMLQuantizationType[name])
    _write(tmp_path / "m.gguf", config, tensors)
    got = np.asarray(load_gguf(tmp_path / "m.gguf")[1]["layers"]["up"][0]).T
    want = np.stack([read(block.tobytes()) for block in blocks])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_files_that_the_decoder_cannot_have_are_clear_errors(tmp_path):
    path = tmp_path / "m.gguf"
    params = random_params(LLAMA3)
    tensors = _tensors(LLAMA3, params)
    _write(path, LLAMA3, tensors)
    with pytest.raises(UserError, match=r"rope_freqs\.weight are not those of Llama 3\.1 or 3\.2"):
        load_gguf(path)
    del tensors["rope_freqs.weight"]
    _write(path, LLAMA3, tensors, kind="gemma")
    with pytest.raises(UserError, match="architecture 'gemma'"):
        load_gguf(path)
    blocks = quantize(params["embedding"], gguf.GGMLQuantizationType.Q5_0)
    changed = tensors | {"token_embd.weight": (blocks, gguf.GGMLQuantizationType.Q5_0)}
    _write(path, LLAMA3, changed)
    with pytest.raises(UserError, match=r"'token_embd\.weight' .* is Q5_0; read are F32"):
        load_gguf(path)
    _write(path, LLAMA3, {k: v for k, v in tensors.items() if k != "blk.2.attn_v.weight"})
    with pytest.raises(MissingTensor, match=r"layers/value\[2\] \(named blk\.2\.attn_v\.weight\)"):
        load_gguf(path)
    _write(path, dataclasses.replace(LLAMA3, d_ff=64), tensors)
    with pytest.raises(WrongShape, match="ffn_gate"):
        load_gguf(path)
    path.write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match="no GGUF file: it begins with"):
        load_gguf(path)
    with pytest.raises(UserError, match="no GGUF file at"):
        load_gguf(tmp_path / "none.gguf")


TEXTS = [
    "It's 12345 o'clock,\r\n\r\n  isn't it?  ",
    'naïve 東京 ½ 🏨\t{"a": [1.5, -20]}',
    "Cafe\u0301 A\u030a",
]


@pytest.fixture(scope="module", params=["smollm", "qwen2", "llama-bpe"])
def tokenizer_pair(request, tmp_path_factory):
    """(the tokenizer.json that a GGUF file was made from, what is read from the file)."""
    source = tokenizers.Tokenizer(models.BPE(ignore_merges=request.param == "llama-bpe"))
    source.pre_tokenizer = tokenizer_gguf._PRE_TOKENIZERS[request.param]
    source.decoder = tokenizers.decoders.ByteLevel()
    if request.param == "qwen2":
        source.normalizer = tokenizers.normalizers.NFC()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=alphabet,
        special_tokens=["<|end|>", "<|pad|>"],
        show_progress=False,
    )
    source.train_from_iterator(TEXTS * 3, trainer)
    source.add_tokens(["<tool_call>"])
    described = source.get_vocab(with_added_tokens=True)
    tokens = sorted(described, key=described.get)
    types = [3 if t in ("<|end|>", "<|pad|>") else 4 if t == "<tool_call>" else 1 for t in tokens]
    merges = [" ".join(m) for m in json.loads(source.to_str())["model"]["merges"]]
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    config = dataclasses.replace(QWEN3, vocab_size=len(tokens))
    _write(path, config, {}, merges=merges, tokens=tokens, types=types, pre=request.param, eos=0)
    return source, load_tokenizer(path)


@given(st.text() | st.text(alphabet="aB 1.\n'sé<|") | st.sampled_from(TEXTS))
def test_a_gguf_s_tokenizer_has_the_ids_of_the_one_it_was_made_from(tokenizer_pair, text):
    source, got = tokenizer_pair
    assert got.encode(text) == source.encode(text).ids
    assert got.decode(got.encode(text)) == source.decode(source.encode(text).ids)


def test_a_gguf_s_control_tokens_are_no_text(tokenizer_pair):
    _, got = tokenizer_pair
    assert set(got.control_ids) == {"<|end|>", "<|pad|>", "<tool_call>"}
    assert set(got.control_ids.values()).isdisjoint(got.encode("<|end|><tool_call>"))
    assert (got.eos_id, got.pad_id) == (0, 0)  # no padding token in the file: the end pads


def test_digits_are_split_as_the_models_were_trained():
    """SmolLM2 and Qwen one by one, Llama 3 by three from the left."""
    for name, want in (("smollm", 5), ("qwen2", 5), ("llama-bpe", 2)):
        split = tokenizer_gguf._PRE_TOKENIZERS[name].pre_tokenize_str("12345")
        assert len(split) == want


def test_an_unknown_vocabulary_is_a_clear_error(tmp_path):
    for name, wrong in (("model", "llama"), ("pre", "deepseek-llm")):
        _write(tmp_path / "m.gguf", QWEN3, {}, **{name: wrong})
        with pytest.raises(UserError, match=f"{wrong}.*use the model's own tokenizer"):
            load_tokenizer(tmp_path / "m.gguf")
