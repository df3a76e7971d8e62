"""SFT, GRPO, or SFT and then GRPO: which is best at equal tokens?

"sft_grpo" is the demo. "sft" has as many SFT steps as its tokens come to, and "grpo", which starts
from random parameters, as many GRPO steps:

    a step of SFT     batch_size x seq_len x 0.83 (the rest of the packed rows is padding)
    a step of GRPO    prompts_per_step x generations x EPISODE_TOKENS; from random parameters,
                      whose first turn seldom ends, x RANDOM_EPISODE_TOKENS

Tokens are those that steps were made of, prompts and responses among them, and of GRPO those of
groups without variance too; what each arm really had stands in the table. Learning rates are
the demo's in every arm. GRPO from random parameters earned nothing (docs/experiments.md).

Command    python -m experiments.sft_or_grpo --config=configs/tiny_cpu.py --workdir=runs/tokens
Hardware   2 CPU cores
Time       with 40 steps of GRPO 20 to 30 minutes an arm and seed on one core, compiling included
"""

from ml_collections import ConfigDict

from experiments import sweep
from tooltrain.cli import main

FILLED = 0.83  # share of SFT tokens that are no padding: mean of the demo's 900 steps, seed 0
EPISODE_TOKENS = 436  # mean of the first 11 steps of GRPO of the demo, seed 0
RANDOM_EPISODE_TOKENS = 295  # mean of its first 6 steps from random parameters, seed 0


def arms(config: ConfigDict) -> dict[str, sweep.Overrides]:
    sft, grpo = config.sft, config.grpo
    of_sft = sft.batch_size * sft.seq_len * FILLED
    episodes = grpo.prompts_per_step * grpo.generations
    tokens = sft.steps * of_sft + grpo.steps * episodes * EPISODE_TOKENS
    return {
        "sft_grpo": {},
        "sft": {"sft.steps": round(tokens / of_sft), "grpo.steps": 0},
        "grpo": {
            # One step that changes nothing: what GRPO loads are the random parameters.
            "sft.steps": 1,
            "sft.learning_rate": 0.0,
            "sft.warmup_steps": 0,
            "grpo.steps": round(tokens / (episodes * RANDOM_EPISODE_TOKENS)),
        },
    }


def sft_or_grpo(config: ConfigDict, workdir: str) -> None:
    sweep.run(__file__, config, workdir, arms(config), first="sft_grpo")


if __name__ == "__main__":
    main.run(sft_or_grpo, sweep.FLAGS)
