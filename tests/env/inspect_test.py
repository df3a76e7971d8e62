"""What a cache's inspection shows of its entries."""

from __future__ import annotations

import pytest

from tooltrain.env.cache import CacheWriter
from tooltrain.env.inspect import inspect
from tooltrain.env.schema import Tool


@pytest.mark.parametrize(
    ("samples", "shown"), [(1, [0]), (2, [0, 2]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_entries_are_spread_over_the_keys_and_shown_once(tmp_path, samples, shown):
    properties = {"n": {"type": "integer"}}
    with CacheWriter.create(tmp_path / "c.sqlite") as writer:
        writer.add_tool(Tool("find", "", {"type": "object", "properties": properties}))
        for n in range(5):
            writer.add_entry("find", {"n": n}, {})
    lines = list(inspect(tmp_path / "c.sqlite", samples=samples))
    assert [line for line in lines if line.startswith("\nfind ")] == [
        f'\nfind {{"n": {n}}}' for n in shown
    ]
