"""Entities of drafts: the names and ids that go together, and one split for each.

See `splits` for what an entity is and how splits are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from tooltrain.env.projection import generic
from tooltrain.synthesis.provenance import is_specific, value_text
from tooltrain.synthesis.sampler import produced_at
from tooltrain.synthesis.splits import Entities, assign
from tooltrain.synthesis.statements import is_name
from tooltrain.types import GoldCall

if TYPE_CHECKING:
    from tooltrain.synthesis.drafts import Draft


class Identifying(Protocol):
    """Recorded entries that know which arguments' values are names."""

    def identifies(self, tool: str, argument: str) -> bool: ...


def names(calls: Sequence[GoldCall], recorded: Identifying) -> list[str]:
    """Names and ids of a trace, casefolded: free names that the user states, bound values."""
    found = []
    for call in calls:
        bound = {b.argument for b in call.bindings}
        for argument, value in call.arguments.items():
            if not recorded.identifies(call.name, argument):
                continue
            text = value_text(value)
            if (argument in bound and is_specific(text)) or (
                argument not in bound and is_name(value)
            ):
                found.append(text.casefold())  # "Hong kong" is Hong Kong
    return found


def joined(drafts: Sequence[Draft], recorded: Identifying) -> Entities:
    """Joins what goes by connected names: a call's own names with the values that its
    response fed to later calls. A call that takes values from two sources (a flight)
    joins nothing: its two ends are two entities."""
    entities = Entities()
    for draft in drafts:
        for i, call in enumerate(draft.calls):
            own = names([call], recorded)
            if len({b.source for b in call.bindings}) > 1:
                own = []
            paths = {
                generic(b.path)
                for later in draft.calls
                for b in later.bindings
                if b.source == i and recorded.identifies(later.name, b.argument)
            }
            response, view = draft.responses[i], draft.views[i]
            # Every value the view shows at a used path, chosen or not, is this entity's.
            produced = [
                text.casefold()
                for path in sorted(paths)
                for _, text in produced_at(response, path)
                if is_specific(text) and text in view
            ]
            entities.join([*own, *produced])
    return entities


def homes(
    drafts: Sequence[Draft],
    per_workflow: Mapping[str, int],
    shares: Mapping[str, float],
    *,
    seed: int,
) -> list[str | None]:
    """Split of each draft, None where its entities are in different splits or it has none.

    per_workflow: drafts by workflow id; shares: wanted share of drafts by split.
    """
    # A workflow counts by the square root of its fillings: the large ones do not decide.
    weights = [per_workflow[d.workflow.id] ** -0.5 for d in drafts]
    home = assign([d.entities for d in drafts], weights, shares, seed=seed)
    found = [{home[e] for e in d.entities} for d in drafts]
    return [names.pop() if len(names) == 1 else None for names in found]
