"""The texts a tokenizer is trained on: training episodes as the policy will see them."""

from __future__ import annotations

from collections.abc import Sequence

from tooltrain.data.chat_template import call_text
from tooltrain.data.pipeline import gold_views
from tooltrain.env.environment import Environment
from tooltrain.types import Call, Trace


def corpus(traces: Sequence[Trace], environment: Environment) -> list[str]:
    """Queries, tool signatures, calls and views; each different text once, in order.

    Once: ids follow the language, not how often a look-up was asked again.
    """
    texts: dict[str, None] = {}
    for trace in traces:
        texts[trace.query] = None
        for gold, view in zip(trace.calls, gold_views(trace, environment), strict=True):
            texts[call_text(Call(gold.name, gold.arguments))] = None
            texts[view] = None
    for tool in environment.tools.values():
        texts[f"{tool.name}({', '.join(tool.properties)})"] = None
    return list(texts)
