"""Input pipelines: Grain datasets over traces, deterministic and resumable.

Example i of a pipeline is a pure function of (traces, seed, i): an iterator's state is
a few integers, and a resumed run sees the bytes that an uninterrupted one does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
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
from tooltrain.errors import UserError
from tooltrain.synthesis.queries import NoFrame
from tooltrain.types import Call, SFTBatch, Trace, turns

# Examples that may be too long one after the other before it is said that none fits.
_PATIENCE = 500

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


@dataclasses.dataclass(frozen=True)
class Examples:
    """What SFT imitates: example i is a pure function of these fields, i and a trace's position.

    Fields: see `sft_batches`.
    """

    traces: Sequence[Trace]
    template: ChatTemplate
    environment: Environment
    seed: int
    copy_fraction: float = 0.0
    copy_warmup_examples: int = 0
    augment_fraction: float = 0.0
    context_loss_weight: float = 0.0
    variety: float = 0.0

    @functools.cached_property
    def _pieces(self) -> list[str]:
        return self.template.tokenizer.word_pieces()

    def imitated(self, index: int, position: int) -> tuple[Trace, list[str]] | None:
        """The gold trace that is played, and the views of its responses; None: the copy task."""
        return self._drawn(index, position, random.Random(f"{self.seed}/{index}"))

    def __call__(self, index: int, position: int) -> dict[str, np.ndarray]:
        """tokens int32 [T] and loss_weight float32 [T]."""
        rng = random.Random(f"{self.seed}/{index}")
        drawn = self._drawn(index, position, rng)
        if drawn is not None:
            tokens, mask = gold_episode(*drawn, self.template, self.environment)
        else:
            letters = index < self.copy_warmup_examples
            words = string.ascii_lowercase if letters else self._pieces
            tokens, mask = copy_episode(self.template, words, rng)
        weight = np.where(mask, 1.0, self.context_loss_weight).astype(np.float32)
        weight[0] = 0.0
        return {"tokens": tokens, "loss_weight": weight}

    def _drawn(
        self, index: int, position: int, rng: random.Random
    ) -> tuple[Trace, list[str]] | None:
        if index < self.copy_warmup_examples or rng.random() < self.copy_fraction:
            return None
        trace = self.traces[position]
        views = gold_views(trace, self.environment)
        if rng.random() < self.augment_fraction:
            with contextlib.suppress(NoFrame):  # no words for a new value: as recorded
                return augment(trace, views, self._pieces, rng, variety=self.variety)
        return trace, views


@dataclasses.dataclass
class Lengths:
    """How many examples were taken so far, and how many of them were left out as too long.

    Counted in the order of the examples, each once: an iterator that is restored takes some
    of them anew. To go on with a restored one, restore these two numbers too.
    """

    taken: int = 0
    left_out: int = 0

    def count(self, position: int, too_long: bool) -> None:
        if position >= self.taken:
            self.taken = position + 1
            self.left_out += too_long

    @property
    def left_out_share(self) -> float:
        return self.left_out / max(self.taken, 1)


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
    lengths: Lengths | None = None,
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
    out, whole; lengths: counts them. Raises UserError, while iterating, if none fits.
    """
    import grain

    shard = shard or Shard()
    lengths = lengths or Lengths()
    examples = Examples(
        traces,
        template,
        environment,
        seed,
        copy_fraction,
        copy_warmup_examples,
        augment_fraction,
        context_loss_weight,
        variety,
    )

    def example(place: int, position: int) -> dict[str, np.ndarray]:
        # Numbered among the examples of all processes.
        made = examples(place * shard.count + shard.index, int(position))
        return made | {"place": np.int64(place)}

    in_a_row = 0  # that were too long

    def fits(example: dict[str, np.ndarray]) -> bool:
        nonlocal in_a_row
        too_long = len(example["tokens"]) > seq_len
        lengths.count(int(example["place"]), too_long)
        in_a_row = in_a_row + 1 if too_long else 0
        if in_a_row > max(2 * len(traces), _PATIENCE):
            raise UserError(
                f"{in_a_row} examples in a row are longer than seq_len={seq_len} tokens, the last "
                f"one {len(example['tokens'])}: nothing is left to learn from. Raise seq_len, or "
                "lower config.projection.max_tokens, so that responses are shorter"
            )
        return not too_long

    taken = order(
        len(traces),
        seed=seed,
        shard=shard,
        easiest_first=curriculum.easiest_first(traces) if curriculum else None,
        curriculum=curriculum,
    )
    # Filtered after they are put in line: before that, threads read ahead and would count ahead.
    short = taken.map_with_index(example).to_iter_dataset().filter(fits).map(_tokens_and_weight)
    packed = grain.experimental.FirstFitPackIterDataset(
        short,
        length_struct={"tokens": seq_len, "loss_weight": seq_len},
        num_packing_bins=batch_size,
        seed=seed,
        shuffle_bins=False,
    )
    return packed.batch(batch_size).map(_to_sft_batch)


def _tokens_and_weight(example: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: example[name] for name in ("tokens", "loss_weight")}


def _to_sft_batch(packed: dict[str, np.ndarray]) -> SFTBatch:
    return SFTBatch(
        tokens=packed["tokens"].astype(np.int32),
        loss_weight=packed["loss_weight"].astype(np.float32),
        segment_ids=packed["tokens_segment_ids"].astype(np.int32),
        positions=packed["tokens_positions"].astype(np.int32),
    )


def prompt_batches(num_traces: int, *, prompts_per_step: int, seed: int) -> grain.IterDataset:
    """Endless batches of trace indices, int64 [prompts_per_step], every trace once an epoch."""
    return order(num_traces, seed=seed).to_iter_dataset().batch(prompts_per_step)
