"""The policy against Hugging Face's transformers (torch on CPU), in float32.

pip install 'tooltrain[dev,peers]' && python -m pytest -m peers
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.data.chat_template import tool_schema
from tooltrain.data.chat_template_models import chat_template
from tooltrain.data.tokenizer_files import load_tokenizer
from tooltrain.env.schema import Tool
from tooltrain.policy import kv_cache
from tooltrain.policy.export import export_policy, export_safetensors
from tooltrain.policy.hf_config import config_from_hf
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.transformer import Transformer, head_logits
from tooltrain.policy.weights import flatten
from tooltrain.types import Call

torch = pytest.importorskip("torch", reason="compares with torch: pip install 'tooltrain[peers]'")
transformers = pytest.importorskip(
    "transformers", reason="compares with transformers: pip install 'tooltrain[peers]'"
)

pytestmark = [pytest.mark.peers, pytest.mark.slow]

MAX_LOGIT_DIFFERENCE = 1e-3
NEW_TOKENS = 64


def _assert_same_logits(config, params, peer, tokens: np.ndarray):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    got = jax.jit(Transformer(config).apply)({"params": params}, jnp.asarray(tokens), positions)
    with torch.no_grad():
        want = peer(torch.from_numpy(tokens)).logits.numpy()
    difference = float(np.abs(np.asarray(got) - want).max())
    print(f"max logit difference {difference:.2e} over {want.size} logits")
    assert difference < MAX_LOGIT_DIFFERENCE
    assert np.abs(want).max() > 1  # or there is little to compare


def _greedy(config, params, prompts: list[list[int]]) -> list[list[int]]:
    """The most likely tokens after each prompt, through the KV cache."""
    start = max(map(len, prompts))
    view = kv_cache.init_cache(config, 1, start)

    @jax.jit
    def read(params, prompt, length):
        recent = kv_cache.init_cache(config, 1, start)
        x, recent = kv_cache.extend(config, params, prompt[None], view, recent, jnp.int32(0))
        cache = kv_cache.write(view, jnp.zeros(1, jnp.int32), recent, length[None])
        return jnp.argmax(head_logits(config, params, x[0, length - 1])), cache

    @jax.jit
    def write(params, token, cache):
        def step(carry, i):
            token, recent = carry
            x, recent = kv_cache.extend(config, params, token[None, None], cache, recent, i)
            return (jnp.argmax(head_logits(config, params, x[0, 0])), recent), token

        recent = kv_cache.init_cache(config, 1, NEW_TOKENS)
        return jax.lax.scan(step, (token, recent), jnp.arange(NEW_TOKENS))[1]

    made = []
    for prompt in prompts:
        padded = np.pad(np.array(prompt, np.int32), (0, start - len(prompt)))
        made.append(write(params, *read(params, padded, jnp.int32(len(prompt)))).tolist())
    return made


def _assert_same_greedy_tokens(config, params, peer, prompts: list[list[int]]):
    # An end id would stop the peer early; here both write all 64 tokens.
    peer.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0)
    for prompt, got in zip(prompts, _greedy(config, params, prompts), strict=True):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            want = peer.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
            )
        assert got == want[0, len(prompt) :].tolist()


def _random(vocab_size: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, vocab_size, shape)


def test_exported_policies_load_in_transformers_with_equal_logits(model, tmp_path):
    """Llama 3 with its RoPE scaling past the original context, and Qwen3."""
    config, params = model
    export_safetensors(tmp_path, config, params, max_len=512)
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    _assert_same_logits(config, params, peer, _random(config.vocab_size, 2, 200))
    prompts = [_random(config.vocab_size, n).tolist() for n in (3, 17, 40, 80, 90)]
    _assert_same_greedy_tokens(config, params, peer, prompts)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_models_saved_by_transformers_load_with_equal_logits(kind, tmp_path):
    shape = {
        "vocab_size": 80,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "initializer_range": 0.2,
    }
    if kind == "llama":
        scaling = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0}
        scaling |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        scaling |= {"original_max_position_embeddings": 64}
        described = transformers.LlamaConfig(**shape, rope_parameters=scaling)
    else:
        described = transformers.Qwen3Config(**shape, tie_word_embeddings=True)
    torch.manual_seed(0)
    peer = transformers.AutoModelForCausalLM.from_config(described).eval()
    peer.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    config, params = from_pretrained(tmp_path)
    _assert_same_logits(config, params, peer, _random(80, 2, 150))


@pytest.fixture(scope="module")
def smollm2(smollm2_gguf):
    peer = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2_gguf.parent, gguf_file=smollm2_gguf.name, dtype=torch.float32
    )
    return (*from_pretrained(smollm2_gguf), peer, load_tokenizer(smollm2_gguf))


PROMPTS = (
    "The capital of France is",
    "def fibonacci(n):\n",
    "Once upon a time, in a small village by the sea,",
    "1, 2, 3, 5, 8, 13,",
    "Ein Rezept für Apfelkuchen:",
)


def test_smollm2_has_the_logits_and_greedy_tokens_of_transformers(smollm2):
    config, params, peer, tokenizer = smollm2
    assert sum(p.size for p in jax.tree.leaves(params)) == 134_515_008
    text = "\n\n".join(PROMPTS) * 4
    _assert_same_logits(config, params, peer, np.array([tokenizer.encode(text)[:256]]))
    _assert_same_greedy_tokens(config, params, peer, [tokenizer.encode(p) for p in PROMPTS])


def test_smollm2_exported_loads_in_transformers_with_equal_weights(smollm2, tmp_path):
    config, params, _, tokenizer = smollm2
    export_safetensors(tmp_path, config, params, max_len=8192, eos_id=tokenizer.eos_id)
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert config_from_hf(peer.config.to_dict()) == config
    tokens = np.array([tokenizer.encode("A list of words: " + " word" * 40)])
    _assert_same_logits(config, params, peer, tokens)
    embedding = flatten(params)["embedding"]
    np.testing.assert_array_equal(peer.get_input_embeddings().weight.detach(), embedding)


def test_smollm2_exported_whole_reads_a_tool_conversation_as_transformers_does(smollm2, tmp_path):
    """Weights, tokenizer and chat template: the same ids, the same logits."""
    config, params, _, tokenizer = smollm2
    template = chat_template(tokenizer)
    export_policy(tmp_path, config, params, template, max_len=8192)
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.eos_token_id, theirs.pad_token_id) == (template.eos_id, template.pad_id)

    parameters = {"type": "object", "properties": {"q": {}, "near": {}}, "required": ["q"]}
    tool, call = Tool("find", "Finds a place.", parameters), Call("find", {"q": "Zürich 2024"})
    messages = [
        {"role": "user", "content": "Where is “Zürich 2024”?"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": call.__dict__}]},
        {"role": "tool", "content": '{"lat": 47.3769, "name": "Zürich"}'},
    ]
    want = template.prompt(messages[0]["content"], [tool])
    want += template.completion([call]) + template.observations([messages[2]["content"]])
    got = theirs.apply_chat_template(
        messages, tools=[tool_schema(tool)], add_generation_prompt=True, return_dict=False
    )
    assert list(got) == want
    _assert_same_logits(config, params, peer, np.array([want]))


def test_bfloat16_differs_by_its_rounding_alone(smollm2):
    """Its logits are near those of float32 and as far from them as transformers' own are."""
    _, params, peer, tokenizer = smollm2
    tokens = np.array([tokenizer.encode("\n".join(PROMPTS))])
    positions = jnp.arange(tokens.shape[1])[None]

    @functools.partial(jax.jit, static_argnums=0)
    def logits(policy, params):
        return policy.apply({"params": params}, jnp.asarray(tokens), positions)

    with torch.no_grad():
        want = peer(torch.from_numpy(tokens)).logits.numpy()
        theirs = peer.to(torch.bfloat16)(torch.from_numpy(tokens)).logits.float().numpy()
        peer.to(torch.float32)
    policy = Transformer(config_from_hf(peer.config.to_dict(), dtype="bfloat16"))
    ours = np.asarray(logits(policy, params))
    our_error, their_error = np.abs(ours - want).max(), np.abs(theirs - want).max()
    print(f"bfloat16: max logit error {our_error:.2f}, transformers' own {their_error:.2f}")
    assert our_error < 2 * their_error
    assert np.mean(ours.argmax(-1) == want.argmax(-1)) > 0.9
