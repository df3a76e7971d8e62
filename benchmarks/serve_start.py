"""How long a server of the demo's policy compiles before it takes requests.

    python -m benchmarks.serve_start --compiled /tmp/compiled            # first start
    python -m benchmarks.serve_start --compiled /tmp/compiled            # second start
    python -m benchmarks.serve_start --compiled /tmp/other --fine        # training's buckets

Prints JSON: programs, and wall and CPU seconds of `Engine.warm_up` for greedy decoding on 64 slots.
"""

from __future__ import annotations

import argparse
import json

import jax

from benchmarks.machine import host, seconds
from configs.tiny_cpu import get_config
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import init_params
from tooltrain.rollout import decode
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.sampling import GREEDY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compiled", required=True, help="directory of compiled programs")
    parser.add_argument("--fine", action="store_true", help="training's buckets")
    options = parser.parse_args()
    jax.config.update("jax_compilation_cache_dir", options.compiled)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)  # as cli/devices.py

    config = get_config()
    policy = PolicyConfig(vocab_size=config.tokenizer.vocab_size, **config.policy.to_dict())
    params = init_params(policy, jax.random.key(0))
    engine = Engine(
        policy,
        num_slots=config.eval.slots,
        max_len=config.grpo.max_len,
        eos_id=0,
        coarse=not options.fine,
    )
    wall, cpu = seconds(lambda: engine.warm_up(params, GREEDY))
    programs = sum(decode.TRACES[name] for name in ("copy", "prefill", "decode"))
    found = {"programs": programs, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}
    print(json.dumps({"machine": host(), "fine": options.fine, **found}))


if __name__ == "__main__":
    main()
