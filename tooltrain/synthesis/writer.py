"""Queries written by a language model, held to the same check as the grammar's.

The model is told what the user knows (the stated values), what each step is for, and
which result of an earlier step is meant; it sees no tool name and no bound value, so that
it has none to give away. An answer that fails the check is asked for again with the
reasons; after `tries` answers the filling is rejected and the last reason counted.
"""

from __future__ import annotations

import collections
import concurrent.futures
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence

from tooltrain.env.schema import Tool
from tooltrain.synthesis.completions import Completions, Messages
from tooltrain.synthesis.drafts import Draft
from tooltrain.synthesis.frames import PHRASES
from tooltrain.synthesis.statements import is_opaque
from tooltrain.synthesis.stream import TraceStream, TraceWriter
from tooltrain.synthesis.wordings import ORDINALS, WORDINGS, superlatives
from tooltrain.types import Binding, GoldCall, Json, Trace

_TASK = """You write requests that people send to an assistant. You get the steps of a plan \
as JSON. Write the one request of a person who wants the result of the last steps and who \
knows only the values under "say". Rules:
- State every value under "say" so that it can be read off exactly: dates with day, month and \
year, numbers in digits or words, names as they are. For a value with "words", use one of \
these words.
- Where a step takes a result of an earlier one, say which result is meant in the words \
given ("which").
- Do not write JSON, step numbers, argument names, ids or names of functions.
- One to four sentences, natural and varied. Answer with the request alone."""
_QUOTES = re.compile(r'^["\u201c](.*)["\u201d]$', re.DOTALL)


class QueryWriter:
    """Asks for the query of each filling, many at a time.

    rejected: fillings that no answer of `tries` was good for, by the last reason;
    retried: answers that were asked for again, by reason.
    """

    def __init__(
        self,
        completions: Completions,
        write: TraceWriter,
        tools: Mapping[str, Tool],
        *,
        tries: int = 3,
        parallel: int = 8,
    ):
        self._completions = completions
        self._write = write
        self._tools = tools
        self._tries = tries
        self._parallel = parallel
        self.rejected: collections.Counter[str] = collections.Counter()
        self.retried: collections.Counter[str] = collections.Counter()

    def traces(self, stream: TraceStream, *, seed: int) -> Iterator[Trace]:
        """A trace of each index of the stream whose query passed, in the order of the
        indices and whatever came back first."""

        def ask(index: int) -> tuple[Trace | None, list[str]]:
            draft = stream.draft(index)
            return self._ask(stream.name(index), draft, random.Random(f"{seed}/{index}"))

        with concurrent.futures.ThreadPoolExecutor(self._parallel) as pool:
            waiting: collections.deque[concurrent.futures.Future] = collections.deque()
            indices = iter(range(len(stream)))
            try:
                while True:
                    while len(waiting) < 2 * self._parallel:
                        index = next(indices, None)
                        if index is None:
                            break
                        waiting.append(pool.submit(ask, index))
                    if not waiting:
                        return
                    trace, faults = waiting.popleft().result()
                    if trace is None:
                        self.rejected[faults[-1]] += 1
                        faults = faults[:-1]
                    self.retried.update(faults)
                    if trace is not None:
                        yield trace
            finally:
                for future in waiting:
                    future.cancel()

    def _ask(self, id_: str, draft: Draft, rng: random.Random) -> tuple[Trace | None, list[str]]:
        """The trace, or None, and the fault of each answer that was not good."""
        try:
            messages: list[Mapping[str, str]] = [*request(id_, draft, self._tools)]
        except ValueError as error:
            return None, [str(error)]
        faults = []
        for _ in range(self._tries):
            text = self._completions.complete(messages)
            trace = self._write.finish(id_, draft, cleaned(text), rng)
            if not isinstance(trace, str):
                return trace, faults
            faults.append(trace)
            messages += [
                {"role": "assistant", "content": text},
                {"role": "user", "content": f"Not yet: {_advice(trace, draft)} Write it again."},
            ]
        return None, faults


def request(id_: str, draft: Draft, tools: Mapping[str, Tool]) -> Messages:
    """The messages that ask for a query. Raises ValueError for a stated value that only a
    machine says.

    id_ makes requests for the same filling different, so that each gets words of its own.
    """
    steps = []
    for i, call in enumerate(draft.calls):
        bound = {binding.argument for binding in call.bindings}
        said = {k: _said(call, k, v) for k, v in call.arguments.items() if k not in bound}
        step: dict[str, Json] = {"step": i + 1, "does": tools[call.name].description, "say": said}
        sources = {b.source: b for b in call.bindings}
        if sources:
            step["takes"] = [
                {"from_step": source + 1, "which": which(binding)}
                for source, binding in sorted(sources.items())
            ]
        steps.append(step)
    content = json.dumps({"request": id_, "steps": steps}, ensure_ascii=False)
    return [{"role": "system", "content": _TASK}, {"role": "user", "content": content}]


def _said(call: GoldCall, name: str, value: Json) -> Json:
    if is_opaque(value):
        raise ValueError(f"an opaque value: {call.name}.{name}")
    if isinstance(value, str) and (value in PHRASES or value in WORDINGS):
        words = dict.fromkeys([PHRASES.get(value, value), *WORDINGS.get(value, ())])
        return {"value": value, "words": list(words)}
    return value


def which(binding: Binding) -> str:
    """How a person says which element a binding takes."""
    kind, _, inner = binding.selector.partition("(")
    inner = inner[:-1]
    if kind == "where":
        return f'the one called "{inner.partition("=")[2]}"'
    if kind == "nth":
        return f"the {ORDINALS[int(inner) - 1]} result"
    if kind in ("argmin", "argmax"):
        return f"the {superlatives(inner.rpartition('.')[2], kind == 'argmax')[0]} one"
    return "the first result" if kind == "first" else "the result"


def cleaned(text: str) -> str:
    """The request without the quotes or the blank space around it."""
    text = " ".join(text.split())
    match = _QUOTES.match(text)
    return match[1] if match else text


def _advice(reason: str, draft: Draft) -> str:
    kind, _, where = reason.partition(": ")
    tool, _, argument = where.partition(".")
    if kind == "not stated":
        values = [c.arguments[argument] for c in draft.calls if c.name == tool]
        values = [value for value in values if not is_opaque(value)]
        return f"the request does not state {' or '.join(map(repr, values))}."
    if kind == "selector not stated":
        chosen = [which(b) for c in draft.calls if c.name == tool for b in c.bindings]
        return f"the request does not say that {' and '.join(dict.fromkeys(chosen))} is meant."
    return "the request must not hold ids or names of functions."


def write_splits(
    streams: Mapping[str, TraceStream], writer: QueryWriter, *, seed: int
) -> dict[str, Sequence[Trace]]:
    """Every split with written queries."""
    return {name: list(writer.traces(stream, seed=seed)) for name, stream in streams.items()}
