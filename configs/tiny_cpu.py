"""The demo: can a 1M-parameter policy learn to chain recorded booking calls in 15 minutes?

Command    make demo   (record, synthesize, train_sft, train_grpo, evaluate, report)
           python -m tooltrain.cli.train_sft --config=configs/tiny_cpu.py --workdir=runs/demo
Hardware   2 CPU cores, 4 GB of memory, no accelerator
Time       SFT 4.5 minutes, GRPO 10, evaluation 1.5
Expected   strict turn accuracy on held-out traces of 0.42 to 0.52 after SFT, and 0.045 to 0.085
           more after GRPO (three seeds: experiments/results/quickstart.json)
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # of initial parameters, data order, sampling: the same seed, the same run
    config.suite = "booking"  # the named set of tools
    config.cache = ""  # SQLite file of recorded responses; empty: WORKDIR/cache/booking.sqlite
    config.traces = ""  # directory of the trace dataset; empty: WORKDIR/traces
    config.init_from = ""  # the SFT directory that GRPO starts from; empty: WORKDIR/sft

    # What the policy sees of a response: a valid-JSON view within a budget.
    config.projection = ConfigDict()
    config.projection.max_tokens = 80
    config.projection.max_items = 2  # elements kept of a list; the rest is counted
    config.projection.max_value_chars = 64  # longer strings are cut or left out

    # Traces: see tooltrain.synthesis.generate.Settings.
    config.synthesis = ConfigDict()
    config.synthesis.max_calls = 4  # of a workflow
    config.synthesis.min_support = 10  # recorded calls that a workflow was seen in
    config.synthesis.grown_workflows = 0  # from the tool graph, beside the mined ones
    config.synthesis.max_fillings_per_workflow = 400
    config.synthesis.queries_per_filling = 4  # wordings of one filled workflow, in training
    config.synthesis.train_traces = 0  # above 0: so many traces of each training split, by index
    config.synthesis.variety = 0.0  # share of queries in varied wordings: 1M parameters read few
    config.synthesis.distractors = 2  # offered tools that no gold call uses
    config.synthesis.held_out_workflows = 0.15  # share that only test_workflows plays
    config.synthesis.train_rl_share = 0.2  # of the fillings: prompts for GRPO, unseen by SFT
    config.synthesis.validation_share = 0.1  # of the fillings
    config.synthesis.test_share = 0.2  # of the fillings

    config.tokenizer = ConfigDict()
    config.tokenizer.vocab_size = 1024  # byte-level BPE trained on the training traces

    # Llama/Qwen3 decoder. Few, wide heads: attention's elementwise work costs most here.
    config.policy = ConfigDict()
    config.policy.num_layers = 4
    config.policy.d_model = 128  # width of the residual stream
    config.policy.num_heads = 2  # query heads
    config.policy.num_kv_heads = 2  # key/value heads, a divisor of num_heads
    config.policy.head_dim = 64
    config.policy.d_ff = 352  # width of the SwiGLU
    config.policy.rope_theta = 10_000.0  # base of the rotary frequencies
    config.policy.norm_eps = 1e-6  # added to the mean square in RMSNorm
    config.policy.qk_norm = True  # RMSNorm on queries and keys, as Qwen3
    config.policy.tie_embeddings = True  # output matrix = embedding matrix
    config.policy.dtype = "float32"  # of activations; bfloat16 on accelerators
    # "xla", "cudnn", "splash", or "auto": by the backend (tooltrain/policy/attention.py).
    config.policy.attention = "auto"
    config.policy.remat = False  # recompute activations in the backward pass: memory for time

    # Thin matrices that are trained beside the layers' frozen ones (LoRA), by SFT and GRPO.
    config.lora = ConfigDict()
    config.lora.rank = 0  # of their product; 0: off, all parameters are trained
    config.lora.alpha = 16.0  # the product counts alpha / rank times

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
    config.sft.optimizer = "muon"  # "adamw", or "muon" on layer matrices and AdamW on the rest
    config.sft.cpu_devices = 2  # virtual CPU devices a batch is split over; one a core is fastest
    config.sft.steps = 900
    config.sft.batch_size = 8  # packed rows a step
    config.sft.seq_len = 512  # tokens a row
    config.sft.microbatches = 1  # parts of a batch that run one after another, to save memory
    config.sft.learning_rate = 3e-3  # peak
    config.sft.warmup_steps = 40
    # After warmup: "cosine", "linear", "constant". Not brought down: a warm start, which leaves
    # GRPO something to do. Annealed, SFT alone does better (README, Results).
    config.sft.decay = "constant"
    config.sft.final_lr_fraction = 0.1  # learning rate at the end / peak
    config.sft.copy_warmup_examples = 5_000  # at the start, of the synthetic copy task alone
    config.sft.copy_fraction = 0.15  # its share of the examples after that
    config.sft.augment_fraction = 0.6  # share of traces whose values are replaced consistently
    config.sft.context_loss_weight = 0.1  # of tokens that the policy does not write
    config.sft.log_every_steps = 10
    config.sft.checkpoint_every_steps = 200
    config.sft.eval_every_steps = 100  # held-out loss and token accuracy
    config.sft.eval_batches = 4  # batches of validation traces in it

    config.grpo = ConfigDict()
    config.grpo.optimizer = "adamw"
    # 1: rollouts are played while the step before is updated, by the policy from before that; 0:
    # one after the other. 1 needs importance_cap.
    config.grpo.staleness = 0
    config.grpo.split = "train_rl"  # whose prompts are rolled out
    config.grpo.steps = 80
    config.grpo.prompts_per_step = 8
    config.grpo.generations = 16  # rollouts of one prompt, compared with each other
    config.grpo.learning_rate = 2e-4
    config.grpo.warmup_steps = 4
    config.grpo.decay = "linear"
    config.grpo.final_lr_fraction = 0.1
    config.grpo.updates_per_batch = 1  # passes over the rollouts of a step
    config.grpo.minibatches = 1  # optimizer steps in a pass
    config.grpo.row_len = 768  # tokens of a row of an update, into which rollouts are packed
    config.grpo.share_prefixes = True  # rows hold trees: what rollouts have in common, once
    config.grpo.microbatch_rows = 4  # rows that an update works on at a time, for memory
    config.grpo.epsilon_low = 0.2  # the ratio is clipped to [1 - low, 1 + high]
    config.grpo.epsilon_high = 0.2  # > low: DAPO's clip-higher
    # Of k3 to the SFT policy; 0 skips that policy, which makes an update a third faster.
    config.grpo.kl_coefficient = 0.0
    config.grpo.entropy_coefficient = 0.0  # of the entropy bonus
    config.grpo.loss_aggregation = "token_mean"  # or "sequence_mean", "constant" (Dr. GRPO)
    config.grpo.sequence_ratio = False  # True: GSPO's ratio, one a rollout
    # The trainer asks the policy for what the sampler said, and weighs advantages by their ratio,
    # at most this (truncated importance sampling). 0: off, the sampler is believed.
    config.grpo.importance_cap = 0.0
    # What a turn's tokens are judged by: "turn": what was earned from it on; "rollout": the whole.
    config.grpo.credit = "turn"
    config.grpo.normalize_std = False  # False: advantages without / std (Dr. GRPO)
    # "components": each component of "matched" is normalised by itself (GDPO); of whole rollouts.
    config.grpo.advantages = "reward"
    config.grpo.filter_zero_variance = True  # leave out groups that all earned the same
    # How often a step may draw as many prompts again, while it is short of groups with variance.
    config.grpo.dynamic_sampling_rounds = 0
    config.grpo.reward = "matched"  # or "reference", "binary", "atomic_only", ...
    config.grpo.w_atomic = 0.5  # weight of calls being right
    config.grpo.w_orchestration = 0.5  # weight of order and of values passed on
    config.grpo.temperature = 1.0
    config.grpo.top_k = 0  # sample from the k likeliest tokens; 0: all
    config.grpo.top_p = 1.0  # sample from the least set of this probability
    config.grpo.max_turns = 6
    config.grpo.max_failed_turns = 0  # a rollout ends there (evaluation goes on); 0: it never does
    config.grpo.max_turn_tokens = 192
    config.grpo.max_len = 640  # tokens of an episode, prompt and responses included
    config.grpo.slots = 64  # episodes decoded together
    config.grpo.log_every_steps = 1
    config.grpo.checkpoint_every_steps = 20
    config.grpo.eval_every_steps = 40
    config.grpo.eval_episodes = 128  # of the validation split, greedily
    config.grpo.sample_episodes = 2  # written to episodes.jsonl at each logged step

    config.eval = ConfigDict()
    config.eval.episodes = 320  # of each test split; 0: all
    config.eval.temperature = 0.0  # greedy
    config.eval.slots = 64
    return config
