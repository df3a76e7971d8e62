"""The examples in docs/ work as their pages say (pages.py has the marks)."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.docs import pages

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PAGES = sorted(p for p in (_ROOT / "docs").glob("*.md") if pages.blocks(p.read_text()))


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_work_as_it_says(page, tmp_path):
    (tmp_path / "configs").symlink_to(_ROOT / "configs")  # the reader's folder is a checkout
    done = subprocess.run(
        [sys.executable, pages.__file__, str(page), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_pages_with_examples_are_found():
    assert {"environment", "extending"} <= {page.stem for page in _PAGES}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- run -->\n```python\nraise LookupError('here')\n```\n", "here"),
        ("<!-- run -->\n```sh\nexit 3\n```\n", "page.md:3 exited with 3"),
        ("<!-- run -->\n```python\nprint(1)\n```\n<!-- run: prints -->\n```\n2\n```\n", "says\n2"),
        ("<!-- run -->\nNothing here.\n", "1 blocks are marked, 0 of them"),
        ("<!-- run: twice -->\n```python\n```\n", "page.md:3: unknown instruction 'twice'"),
        ("<!-- run -->\n```toml\n```\n", "cannot run a block of toml"),
    ],
    ids=["python", "sh", "output", "no block", "instruction", "language"],
)
def test_an_example_that_does_not_work_fails(text, message, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((ValueError, LookupError), match=message):
        pages.run(page, tmp_path)


def test_blocks_share_names_and_files(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: save as numbers.txt -->\n```text\n1 2\n```\n"
        "<!-- run -->\n```python\nx = 20\n```\n"
        "<!-- run -->\n```sh\ncat numbers.txt\n```\n"
        "<!-- run: prints -->\n```text\n1 ...\n```\n"
        "```python\nx = 0  # not marked\n```\n"
        "<!-- run -->\n```python\nprint(x + 1)\n```\n"
        "<!-- run: prints -->\n```text\n21\n```\n"
    )
    pages.run(page, tmp_path)
