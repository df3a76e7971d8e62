"""Slots of a KV cache on the device, and what the host knows about them.

The engine turns requests of any size into the few shapes that `decode.py` is compiled for:
rows, chunk lengths and cache prefixes come from buckets, the rest is padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.kv_cache import KVCache, init_cache
from tooltrain.policy.transformer import Params
from tooltrain.rollout import decode
from tooltrain.rollout.sampling import Sampling

# Cost of one more prefill call in tokens: 64 x 32 took 28 ms and 16 x 32 took 19 ms on two
# cores, where a token took 0.01 ms.
_PREFILL_CALL_TOKENS = 512

# Of the widest activations of a prefill call on a CPU, in bytes: what is larger than its caches
# is slower. 32 x 256 tokens of SmolLM2-135M took 0.92 of the time as four calls of 8 x 256.
_CPU_PREFILL_BYTES = 16 * 2**20


class Request(NamedTuple):
    """A slot's next tokens, wanted: feed `token`, sample at most `budget`.

    prompt, generation: what the random draws depend on, with the seed and the position.
    """

    token: int
    budget: int
    prompt: int
    generation: int


class Engine:
    """`num_slots` slots of `max_len` tokens, for one policy config.

    steps: the longest decode segment; a slot that ends its turn waits at most that many
    tokens for the host. chunks: lengths of prefill chunks. coarse: buckets are few and wide, for
    who compiles them all before the first request (`warm_up`) and not those that occur.
    Memory: see `init_cache`.
    """

    def __init__(
        self,
        config: PolicyConfig,
        *,
        num_slots: int,
        max_len: int,
        eos_id: int,
        steps: int = 32,
        chunks: Sequence[int] = (32, 128),
        coarse: bool = False,
    ):
        if num_slots < 1 or max_len < 2 or steps < 1 or not chunks or min(chunks) < 1:
            raise ValueError(
                f"num_slots={num_slots}, max_len={max_len}, steps={steps}, chunks={chunks}: an "
                "engine needs 1 or more slots, steps and chunk lengths, and a max_len of 2 or more."
            )
        self.config = config
        self.num_slots = num_slots
        self.max_len = max_len
        self.eos_id = eos_id
        self.steps = steps
        self._chunks = sorted({min(chunk, max_len) for chunk in chunks})
        self._rows = sorted({-(-num_slots // 16), -(-num_slots // 4), num_slots})
        self._prefixes = _prefix_buckets(max_len)
        prefill_rows, self._copy_prefixes = self._rows, self._prefixes
        if coarse:
            self._prefixes = sorted({-(-max_len // 4), -(-max_len // 2), max_len})
            # A call of few rows reads one request, one of all rows a burst; a copy is quick.
            prefill_rows = sorted({self._rows[0], num_slots})
            self._copy_prefixes = [max_len]
        self._prefill_shapes = [
            shape
            for shape in itertools.product(prefill_rows, self._chunks)
            if _fits(config, *shape) or shape == (prefill_rows[0], self._chunks[0])
        ]
        self._cache: KVCache = init_cache(config, num_slots, max_len)
        # Tokens in the cache, by slot. The host's count is the only one that is kept: it is
        # handed to the device with every call, so forgetting a slot costs nothing.
        self.lengths = np.zeros(num_slots, np.int32)

        # The last parameters that were given, and their layers one by one (`_unstacked`).
        self._given: Params | None = None
        self._layers: Params | None = None

    def reset(self) -> None:
        """Forgets every slot (after an update the cached keys are another policy's) and its
        copy of the parameters, which an update may need the memory of."""
        self.lengths[:] = 0
        self._given = self._layers = None

    def renew_cache(self) -> None:
        """`reset`, with new arrays: a call that failed may have taken the cache along, which is
        donated to each."""
        self.reset()
        del self._cache  # or two would be alive
        self._cache = init_cache(self.config, self.num_slots, self.max_len)

    def warm_up(self, params: Params, sampling: Sampling) -> None:
        """Compiles every shape there is; after it no request compiles anything.

        Without it a shape is compiled when it first occurs, and a rare one may occur late.
        There are rows x prefixes x (2 + chunks) shapes, of about half a second each for a
        policy of three layers on one free core: 84 for 64 slots of 640 tokens; coarse, 24.
        """
        nobody = {rows: self._padded([], rows, self.num_slots) for rows in self._rows}
        zeros = {rows: self._padded([], rows, 0) for rows in self._rows}
        for rows, prefix in itertools.product(self._rows, self._copy_prefixes):
            self._cache = decode.copy(
                self._current(), zeros[rows], nobody[rows], zeros[rows], prefix=prefix
            )
        for (rows, chunk), prefix in itertools.product(self._prefill_shapes, self._prefixes):
            block = np.zeros((rows, chunk), np.int32)
            self._cache = self._prefill(params, nobody[rows], block, zeros[rows], prefix)
        for rows, prefix in itertools.product(self._rows, self._prefixes):
            columns = (zeros[rows],) * 4
            self._cache, _ = self._decode(params, nobody[rows], columns, prefix, sampling, 0)

    def prefill(self, params: Params, tokens: Mapping[int, Sequence[int]]) -> None:
        """Appends tokens[slot] to each slot, in chunks."""
        left = {slot: list(ids) for slot, ids in tokens.items() if len(ids)}
        for slot, ids in left.items():
            if self.lengths[slot] + len(ids) > self.max_len:
                raise ValueError(
                    f"slot {slot} holds {self.lengths[slot]} tokens and {len(ids)} more do not "
                    f"fit in max_len={self.max_len}; end the episode or raise max_len."
                )
        while left:
            slots, rows, chunk = self._plan({slot: len(ids) for slot, ids in left.items()})
            block = np.zeros((rows, chunk), np.int32)
            counts = np.zeros(rows, np.int32)
            for row, slot in enumerate(slots):
                counts[row] = min(chunk, len(left[slot]))
                block[row, : counts[row]] = left[slot][:chunk]
                left[slot] = left[slot][chunk:]
            padded = self._padded(slots, rows, self.num_slots)
            self._cache = self._prefill(params, padded, block, counts, self._prefix(slots))
            self.lengths[slots] += counts[: len(slots)]
            left = {slot: ids for slot, ids in left.items() if ids}

    def copy(self, sources: Mapping[int, int], lengths: Mapping[int, int]) -> None:
        """Each slot of `sources` becomes the first lengths[slot] tokens of its source."""
        targets = [slot for slot in sources if lengths[slot]]
        if not targets:
            return
        length = [lengths[slot] for slot in targets]
        rows = _bucket(self._rows, len(targets))
        self._cache = decode.copy(
            self._current(),
            self._padded([sources[slot] for slot in targets], rows, 0),
            self._padded(targets, rows, self.num_slots),
            self._padded(length, rows, 0),
            prefix=_bucket(self._copy_prefixes, max(length)),
        )
        self.lengths[targets] = length

    def decode(
        self, params: Params, requests: Mapping[int, Request], *, sampling: Sampling, seed: int
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Samples at most `steps` tokens a slot, until eos or its budget; (ids, logprobs).

        requests: of one slot or more, each with a budget of 1 or more.
        """
        slots = list(requests)
        rows = _bucket(self._rows, len(slots))
        columns = (np.array(x) for x in zip(*(requests[s] for s in slots), strict=True))
        self._cache, sampled = self._decode(
            params,
            self._padded(slots, rows, self.num_slots),
            [self._padded(x, rows, 0) for x in columns],
            self._prefix(slots),
            sampling,
            seed,
        )
        ids, logprobs, counts = jax.device_get(sampled)
        self.lengths[slots] += counts[: len(slots)]
        return {
            slot: (ids[row, : counts[row]], logprobs[row, : counts[row]])
            for row, slot in enumerate(slots)
        }

    def _prefill(
        self, params: Params, slots: np.ndarray, block: np.ndarray, counts: np.ndarray, prefix: int
    ) -> KVCache:
        return decode.prefill(
            self._unstacked(params),
            self._current(),
            slots,
            block,
            counts,
            config=self.config,
            prefix=prefix,
        )

    def _decode(
        self,
        params: Params,
        slots: np.ndarray,
        columns: Sequence[np.ndarray],
        prefix: int,
        sampling: Sampling,
        seed: int,
    ) -> tuple[KVCache, decode.Sampled]:
        """columns: of `Request`, in its order."""
        return decode.decode(
            self._unstacked(params),
            self._current(),
            slots,
            *columns,
            np.uint32(seed % 2**32),
            config=self.config,
            sampling=sampling,
            eos_id=self.eos_id,
            prefix=prefix,
            steps=self.steps,
        )

    def _unstacked(self, params: Params) -> Params:
        """Made once for each version of the parameters: see `kv_cache.unstack`."""
        if params is not self._given:
            self._given = self._layers = None  # or two copies would be alive
            self._layers = decode.unstack(params, config=self.config)
            self._given = params
        return self._layers

    def _current(self) -> KVCache:
        return self._cache._replace(lengths=self.lengths.copy())

    def _prefix(self, slots: Sequence[int]) -> int:
        return _bucket(self._prefixes, int(self.lengths[slots].max()))

    def _padded(self, values: Sequence[int], rows: int, fill: int) -> np.ndarray:
        padded = np.full(rows, fill, np.int32)
        padded[: len(values)] = values
        return padded

    def _plan(self, waiting: Mapping[int, int]) -> tuple[list[int], int, int]:
        """The (slots, rows, chunk) that wastes least padding, the longest slots first."""
        order = sorted(waiting, key=lambda slot: -waiting[slot])

        def useful_share(shape: tuple[int, int]) -> float:
            rows, chunk = shape
            useful = sum(min(chunk, waiting[slot]) for slot in order[:rows])
            return useful / (rows * chunk + _PREFILL_CALL_TOKENS)

        rows, chunk = max(self._prefill_shapes, key=useful_share)
        return order[:rows], rows, chunk


def _fits(config: PolicyConfig, rows: int, chunk: int) -> bool:
    """Whether a prefill call of this shape is worth compiling."""
    itemsize = jax.numpy.dtype(config.compute_dtype).itemsize
    widest = rows * chunk * max(config.d_ff, config.d_model) * itemsize
    return jax.default_backend() != "cpu" or widest <= _CPU_PREFILL_BYTES


def _prefix_buckets(max_len: int) -> list[int]:
    """64, 128, 192, 256, 384, 512, 768, ... up to max_len."""
    buckets = [64, 128, 192]
    while buckets[-1] < max_len:
        buckets.append(buckets[-1] * 4 // 3 if len(buckets) % 2 else buckets[-1] * 3 // 2)
    return sorted({min(bucket, max_len) for bucket in buckets})


def _bucket(buckets: Sequence[int], least: int) -> int:
    return next(bucket for bucket in buckets if bucket >= least)
