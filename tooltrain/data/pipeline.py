"""Input pipelines: Grain datasets over traces, deterministic and resumable.

Example i of a pipeline is a pure function of (traces, seed, i): an iterator's state is
a few integers, and a resumed run sees the bytes that an uninterrupted one does.
"""

from __future__ import annotations

import contextlib
import random
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tooltrain.data.augment import augment
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.copying import copy_episode
from tooltrain.data.order import Curriculum, Shard, order
from tooltrain.env.environment import Environment
from tooltrain.synthesis.queries import NoFrame
from tooltrain.types import Call, SFTBatch, Trace, turns

if TYPE_CHECKING:
    import grain


def gold_views(trace: Trace, environment: Environment) -> list[str]:
    """What the policy sees of each gold call's response."""
    views = []
    for gold in trace.calls:
        call = Call(gold.name, gold.arguments)
        views.append(environment.show(call, environment.execute(call)))
    return views


def gold_episode(
    trace: Trace, views: Sequence[str], template: ChatTemplate, environment: Environment
) -> tuple[np.ndarray, np.ndarray]:
    """(tokens int32 [T], completion_mask bool [T]) of a trace played as gold."""
    levels = turns(trace.calls)
    script = []
    for level in range(max(levels) + 1):
        at = [i for i, other in enumerate(levels) if other == level]
        calls = [Call(trace.calls[i].name, trace.calls[i].arguments) for i in at]
        script.append((calls, [views[i] for i in at]))
    return template.episode(trace.query, [environment.tools[name] for name in trace.tools], script)


def sft_batches(
    traces: Sequence[Trace],
    template: ChatTemplate,
    environment: Environment,
    *,
    batch_size: int,
    seq_len: int,
    seed: int,
    copy_fraction: float = 0.0,
    copy_warmup_examples: int = 0,
    augment_fraction: float = 0.0,
    context_loss_weight: float = 0.0,
    variety: float = 0.0,
    shard: Shard | None = None,
    curriculum: Curriculum | None = None,
) -> grain.IterDataset:
    """Endless packed batches of gold episodes (SFTBatch of numpy arrays).

    traces: a split of files (`dataset.open_traces`) or of a recipe's streams; the same
    traces by index give the same batches.

    copy_warmup_examples: how many examples at the start are of the copy task alone, in words
    of letters (copying forms sooner over few ids); copy_fraction: its share after that, in
    words of all pieces; augment_fraction: share of traces whose values
    are replaced. context_loss_weight: of tokens that the policy does not write.
    variety: share of augmented queries that the varied grammar writes. shard: this process's
    part of the examples; curriculum: easy traces first. Episodes longer than seq_len are left
    out.
    """
    import grain

    shard = shard or Shard()
    pieces = template.tokenizer.word_pieces()

    def example(index: int, position: int) -> dict[str, np.ndarray] | None:
        index = index * shard.count + shard.index  # among the examples of all processes
        rng = random.Random(f"{seed}/{index}")
        if index < copy_warmup_examples:
            tokens, mask = copy_episode(template, string.ascii_lowercase, rng)
        elif rng.random() < copy_fraction:
            tokens, mask = copy_episode(template, pieces, rng)
        else:
            trace = traces[int(position)]
            views = gold_views(trace, environment)
            if rng.random() < augment_fraction:
                with contextlib.suppress(NoFrame):  # no words for a new value: as recorded
                    trace, views = augment(trace, views, pieces, rng, variety=variety)
            tokens, mask = gold_episode(trace, views, template, environment)
        weight = np.where(mask, 1.0, context_loss_weight).astype(np.float32)
        weight[0] = 0.0
        return {"tokens": tokens, "loss_weight": weight}

    taken = order(
        len(traces),
        seed=seed,
        shard=shard,
        easiest_first=curriculum.easiest_first(traces) if curriculum else None,
        curriculum=curriculum,
    )
    examples = taken.map_with_index(example).filter(lambda e: len(e["tokens"]) <= seq_len)
    packed = grain.experimental.FirstFitPackIterDataset(
        examples.to_iter_dataset(),
        length_struct={"tokens": seq_len, "loss_weight": seq_len},
        num_packing_bins=batch_size,
        seed=seed,
        shuffle_bins=False,
    )
    return packed.batch(batch_size).map(_to_sft_batch)


def _to_sft_batch(packed: dict[str, np.ndarray]) -> SFTBatch:
    return SFTBatch(
        tokens=packed["tokens"].astype(np.int32),
        loss_weight=packed["loss_weight"].astype(np.float32),
        segment_ids=packed["tokens_segment_ids"].astype(np.int32),
        positions=packed["tokens_positions"].astype(np.int32),
    )


def prompt_batches(
    num_traces: int,
    *,
    prompts_per_step: int,
    seed: int,
    shard: Shard | None = None,
    easiest_first: np.ndarray | None = None,
    curriculum: Curriculum | None = None,
) -> grain.IterDataset:
    """Endless batches of trace indices, int64 [prompts_per_step], every trace once an epoch
    (see `order.order` for what shares and schedules them)."""
    taken = order(
        num_traces, seed=seed, shard=shard, easiest_first=easiest_first, curriculum=curriculum
    )
    return taken.to_iter_dataset().batch(prompts_per_step)
