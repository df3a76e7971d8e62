"""Docstrings as they read in the source: prose as prose, drawings and lists of terms as set.

A griffe extension (mkdocs.yml names it). Docstrings here are plain text, in which brackets are
no links and columns stand where they were put.
"""

from __future__ import annotations

import re
import textwrap

import griffe

_CODE = re.compile(r"(`[^`]*`)")
_SPECIAL = re.compile(r"([\[\]<>*])")
# A line that is indented, or has columns, or draws.
_SET = re.compile(r"^ |^python -m |\S {2,}\S|[│┌└├─▶◀▼▲]", re.MULTILINE)


def shown(docstring: str) -> str:
    """The docstring as Markdown: each paragraph as prose or, if it is set, as a block of text."""
    return "\n\n".join(_paragraph(p) for p in re.split(r"\n[ ]*\n", docstring.strip("\n")))


def _paragraph(text: str) -> str:
    if _SET.search(text):
        return f"```text\n{textwrap.dedent(text)}\n```"
    parts = _CODE.split(text)
    parts[::2] = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


class Docstrings(griffe.Extension):
    """Rewrites the docstring of every object that is read."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None and not obj.is_alias:
            obj.docstring.value = shown(obj.docstring.value)
