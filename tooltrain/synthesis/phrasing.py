"""Phrasings: what the varied grammar knows of a tool, in parts that combine.

    things      plane tickets                       what the call returns
    modifiers   from {fromId} to {toId}             each argument's words, in any order
                leaving {departDate}
    elements    the cheapest connection ...         one of them, when a later call needs it

In a modifier `{x}` is the value or, where argument x is bound, the noun of the call that it
comes from; `{@x}` asks that x is bound, `{=x}` that it is stated; `{b-a}` is the days from
date a to date b; `[s]` is the plural of the number before it.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping

# Alternatives that say the same arguments.
Modifier = tuple[str, ...]
FIELD = re.compile(r"\{([@=]?)(\w+)(?:-(\w+))?\}|\[s\]")


@dataclasses.dataclass(frozen=True)
class Phrasing:
    """Words of one tool.

    things: plural nouns without an article; countable: whether one can ask which there are.
    modifiers: tried in order, each used if its arguments are given and not yet said.
    choices: for an enumerated argument, whole modifiers by value.
    elements: singular nouns of one result; one that holds a field is that argument's own noun
    (the details of a hotel are of that hotel). element_of: whole nouns by the field that is
    taken, with `{pick}` for the chosen element, `{place}`, or a field.
    place: the result is named by what was asked for (a city by its name).
    """

    things: tuple[str, ...]
    modifiers: tuple[Modifier, ...]
    elements: tuple[str, ...] = ()
    element_of: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    choices: Mapping[str, Mapping[str, Modifier]] = dataclasses.field(default_factory=dict)
    place: bool = False
    countable: bool = True

    @functools.cached_property
    def fields(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """For each modifier, (mark, argument) of what it says."""
        return tuple(
            tuple(dict.fromkeys((m[1], name) for text in texts for m in FIELD.finditer(text)
                                if m[2] for name in (m[2], m[3]) if name))
            for texts in self.modifiers
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Suite:
    """Phrasings by tool name, and the parts of a sentence that says what it is all for."""

    tools: Mapping[str, Phrasing]
    contexts: tuple[tuple[str, ...], ...]
