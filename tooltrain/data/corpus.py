"""The texts a tokenizer is trained on: training episodes as the policy will see them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tooltrain.data.chat_template import CLOSING, call_text, tool_text
from tooltrain.data.pipeline import gold_views
from tooltrain.data.tokenizer import SPECIAL
from tooltrain.env.environment import Environment
from tooltrain.types import Call, Trace

_SPECIAL = re.compile("|".join(map(re.escape, SPECIAL)))


def corpus(traces: Sequence[Trace], environment: Environment) -> list[str]:
    """Queries, tools offered, calls and views; each different text once, in order.

    Once: ids follow the language, not how often a look-up was asked again. The special
    tokens are not among the texts: they are ids already.
    """
    texts: dict[str, None] = {}
    for trace in traces:
        listed = [tool_text(environment.tools[name]) for name in trace.tools]
        texts["\n".join(["system", *listed])] = None
        texts[f"user\n{trace.query}\nassistant\n{CLOSING}"] = None
        for gold, view in zip(trace.calls, gold_views(trace, environment), strict=True):
            texts[call_text(Call(gold.name, gold.arguments))] = None
            texts[view] = None
    return [_SPECIAL.sub("", text) for text in texts]
