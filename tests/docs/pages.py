"""Runs the marked examples of a page, as a reader would: python tests/docs/pages.py PAGE FOLDER

`python` blocks go on in one namespace, `sh` blocks are commands in the same folder, and what
should come out stands in a block after it:

    <!-- run -->                     a python or sh block
    <!-- run: save as my_tools.py --> a block that is a file
    <!-- run: prints -->             what the block before printed; ... stands for anything
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

_BLOCK = re.compile(r"^<!-- run(?:: (.+?))? -->\n```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SAVED = "save as "
_COMPARED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """instruction: what follows `run:`; line: where the code begins on its page."""

    instruction: str
    language: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    """The marked blocks, in order. Raises ValueError for a mark without a block."""
    found = [
        Block(m[1] or "", m[2], m[3], text.count("\n", 0, m.start(3)) + 1)
        for m in _BLOCK.finditer(text)
    ]
    marks = len(re.findall(r"^<!-- run\b", text, re.MULTILINE))
    if len(found) != marks:
        raise ValueError(f"{marks} blocks are marked, {len(found)} of them are blocks of code")
    return found


def run(page: pathlib.Path, folder: pathlib.Path) -> None:
    """Runs a page's blocks in `folder`. Raises where one fails or prints something else."""
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page.read_text()):
        where = f"{page.name}:{block.line}"
        if block.instruction.startswith(_SAVED):
            (folder / block.instruction.removeprefix(_SAVED)).write_text(block.code)
        elif block.instruction == "prints":
            if not doctest.OutputChecker().check_output(block.code, printed, _COMPARED):
                raise ValueError(f"{where} says\n{block.code}\nbut this was printed:\n{printed}")
        elif block.instruction:
            raise ValueError(f"{where}: unknown instruction {block.instruction!r}")
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                # Blank lines before it, so that a traceback has the page's line numbers.
                exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
            printed = out.getvalue()
        elif block.language == "sh":
            printed = _shell(block.code, folder, where)
        else:
            raise ValueError(f"{where}: cannot run a block of {block.language or 'no language'}")


def _shell(command: str, folder: pathlib.Path, where: str) -> str:
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", command],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ValueError(f"{where} exited with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    page, folder = (pathlib.Path(given).resolve() for given in sys.argv[1:])
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    run(page, folder)
