"""A plan out of schemas alone, for tools whose user gave none."""

from __future__ import annotations

from collections.abc import Mapping

from tooltrain.env.recorder.backend import Backend
from tooltrain.env.recorder.plan import Enumeration, Plan, Range, Source, ToolPlan, Values
from tooltrain.types import Json

_MAX_RANGE = 10_000  # integers between a schema's bounds


def plan_from_schemas(backend: Backend, seed: int = 0) -> tuple[Plan, dict[str, str]]:
    """What can be asked with values that the schemas themselves give: enumerations, booleans,
    bounded integers, defaults and examples.

    Returns the plan, and why each tool left out of it is: a required argument without
    values, or a tool not known to be read-only, which only a user's own plan may ask.
    """
    plans, left_out = [], {}
    for name, tool in backend.tools.items():
        sources = {argument: _source(schema) for argument, schema in tool.properties.items()}
        wanting = [argument for argument in tool.required if sources.get(argument) is None]
        if name not in backend.read_only:
            left_out[name] = "it may change something; name it in a plan to ask it all the same"
        elif wanting:
            left_out[name] = f"its schema has no values for {', '.join(wanting)}; give a plan"
        else:
            known = {argument: source for argument, source in sources.items() if source}
            plans.append(ToolPlan(name, known))
    return Plan(tuple(plans), seed), left_out


def _source(schema: Mapping[str, Json]) -> Source | None:
    if schema.get("enum") or schema.get("type") == "boolean":
        return Enumeration()
    low, high = schema.get("minimum"), schema.get("maximum")
    bounded = isinstance(low, int) and isinstance(high, int) and 0 <= high - low < _MAX_RANGE
    if schema.get("type") == "integer" and bounded:
        return Range(low, high)
    given = [schema[word] for word in ("const", "default", "example") if word in schema]
    given += schema.get("examples", ())
    return Values(tuple(given)) if given else None
