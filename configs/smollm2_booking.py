"""Does a published 135M-parameter model learn ComplexFuncBench from synthesized traces alone?

SmolLM2-135M-Instruct out of the package registry (docs/models.md), fine-tuned on booking traces
whose every value is replaced, so that hardly a call of the benchmark is among them.

Command    python -m experiments.smollm2 --config=configs/smollm2_booking.py --workdir=runs/smollm2
           (record, synthesize, evaluate, train_sft, evaluate; or those commands one by one)
Hardware   one H100; with --config=configs/smollm2_booking.py:smoke any machine, to see that it runs
Time       10 minutes on the H100, and as long again for compiling the first time
Expected   strict call accuracy 0 before and 0.27 after, success 0 and 0.04 (docs/evaluation.md)
"""

from __future__ import annotations

from ml_collections import ConfigDict

SIZES = ("gpu", "smoke")


def get_config(size: str = "gpu") -> ConfigDict:
    """size: "gpu", or "smoke": the same way through the code in minutes on two CPU cores."""
    if size not in SIZES:
        raise ValueError(f"configs/smollm2_booking.py:{size}: the size is one of {SIZES}")
    config = ConfigDict()
    config.seed = 0  # of data order and synthesis: the same seed, the same run
    config.suite = "booking"  # the named set of tools
    config.cache = ""  # SQLite file of recorded responses; empty: WORKDIR/cache/booking.sqlite
    config.traces = ""  # directory of the trace dataset; empty: WORKDIR/traces
    config.init_from = ""  # the SFT directory that GRPO starts from; empty: WORKDIR/sft

    # What the policy sees of a response (docs/cache.md says what of the needed values is left).
    config.projection = ConfigDict()
    config.projection.max_tokens = 384
    config.projection.max_items = 4  # elements kept of a list; the rest is counted
    config.projection.max_value_chars = 1024  # longer strings are cut; search keys have 564

    # Traces: see tooltrain.synthesis.generate.Settings.
    config.synthesis = ConfigDict()
    config.synthesis.max_calls = 8  # of a workflow; the benchmark has up to 11, 5.1 on average
    config.synthesis.min_support = 2  # recorded calls that a workflow was seen in
    config.synthesis.grown_workflows = 210  # from the tool graph, beside the mined ones
    config.synthesis.max_fillings_per_workflow = 200
    config.synthesis.queries_per_filling = 1  # augmentation writes the queries anew
    config.synthesis.variety = 1.0  # share of queries in varied wordings, also of augmented ones
    config.synthesis.distractors = 8  # offered tools that no gold call uses
    config.synthesis.held_out_workflows = 0.1  # share that only test_workflows plays
    config.synthesis.train_rl_share = 0.1  # of the fillings: prompts for GRPO, unseen by SFT
    config.synthesis.validation_share = 0.05  # of the fillings
    config.synthesis.test_share = 0.15  # of the fillings

    # Of the tokenizer that `synthesize` trains, which a pretrained policy does not use.
    config.tokenizer = ConfigDict()
    config.tokenizer.vocab_size = 1024

    config.policy = ConfigDict()
    config.policy.pretrained = "smollm2"  # a directory, a hub id, a .gguf file, or "smollm2"
    config.policy.dtype = "bfloat16"  # of activations; parameters stay float32
    config.policy.remat = True  # recompute activations in the backward pass: memory for time
    config.policy.attention = "auto"  # cuDNN's flash attention on a GPU

    # Devices by use; their product is the number of devices, -1 is whatever is left.
    config.mesh = ConfigDict()
    config.mesh.data = -1  # copies of the parameters
    config.mesh.fsdp = 1  # parameters and batch split
    config.mesh.tensor = 1  # matrices split

    config.optimizer = ConfigDict()
    config.optimizer.b1 = 0.9  # AdamW: decay of the first moment
    config.optimizer.b2 = 0.95  # AdamW: decay of the second moment
    config.optimizer.weight_decay = 0.01  # on layer matrices, times the learning rate
    config.optimizer.clip_norm = 1.0  # global gradient norm; 0: no clipping
    config.optimizer.muon_learning_rate_ratio = 5.0  # Muon's learning rate / AdamW's

    config.sft = ConfigDict()
    config.sft.optimizer = "adamw"
    config.sft.cpu_devices = 1  # virtual CPU devices a batch is split over
    config.sft.steps = 500
    config.sft.batch_size = 16  # packed rows a step
    config.sft.seq_len = 4096  # tokens a row; longer episodes are left out and counted
    config.sft.microbatches = 4  # logits of 4 x 4,096 x 49,152 float32 are 3.2 GB
    config.sft.learning_rate = 5e-4  # peak
    config.sft.warmup_steps = 25
    config.sft.decay = "linear"  # after warmup: "cosine", "linear", "constant"
    config.sft.final_lr_fraction = 0.05  # learning rate at the end / peak
    config.sft.copy_warmup_examples = 0  # at the start, of the synthetic copy task alone
    config.sft.copy_fraction = 0.0  # its share after that: a pretrained model can copy
    # Share of traces whose values are replaced. All: the recorded calls are the benchmark's own.
    config.sft.augment_fraction = 1.0
    config.sft.context_loss_weight = 0.0  # of tokens that the policy does not write
    config.sft.log_every_steps = 10
    config.sft.checkpoint_every_steps = 250
    config.sft.eval_every_steps = 100  # held-out loss and token accuracy
    config.sft.eval_batches = 2  # batches of validation traces in it

    # Limits of an episode, of rollouts and evaluation alike.
    config.grpo = ConfigDict()
    config.grpo.max_turns = 12
    config.grpo.max_turn_tokens = 1536  # three searches by key in one turn
    config.grpo.max_len = 5120  # tokens of an episode, prompt and responses included

    config.eval = ConfigDict()
    config.eval.episodes = 320  # of each test split; 0: all
    config.eval.temperature = 0.0  # greedy
    config.eval.slots = 128  # episodes decoded together
    config.eval.chunks = (256,)  # tokens read at a time; each length is compiled, 8 s a program

    if size == "smoke":
        config.projection.update(max_tokens=64, max_items=2, max_value_chars=64)
        config.synthesis.update(max_calls=3, min_support=10, grown_workflows=0, distractors=1)
        config.synthesis.update(max_fillings_per_workflow=8)
        config.policy.update(dtype="float32", remat=False)
        config.sft.update(steps=2, batch_size=2, microbatches=1, seq_len=640, warmup_steps=1)
        config.sft.update(log_every_steps=1, eval_every_steps=2, eval_batches=1)
        config.grpo.update(max_turns=2, max_turn_tokens=24, max_len=512)
        config.eval.update(episodes=2, slots=2, chunks=(128,))
    return config
