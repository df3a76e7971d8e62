"""The documentation builds without a warning, and a broken link breaks it."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def build(config: pathlib.Path, site: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", f"-f{config}", f"-d{site}"],
        cwd=_ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


def modules() -> set[str]:
    """Every module that says something in a docstring: empty `__init__.py` do not."""
    files = [path for path in (_ROOT / "tooltrain").rglob("*.py") if path.stat().st_size]
    names = [path.relative_to(_ROOT).with_suffix("").parts for path in files]
    return {".".join(parts).removesuffix(".__init__") for parts in names}


def test_the_site_builds_and_its_reference_has_every_module(tmp_path):
    done = build(_ROOT / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = [path.read_text() for path in (tmp_path / "site" / "api").rglob("index.html")]
    missing = {name for name in modules() if not any(f'id="{name}"' in page for page in pages)}
    assert not missing


@pytest.mark.parametrize(
    "page", ["[gone](gone.md)", "[there](index.md#gone)", "[up](../setup.py)", "::: tooltrain.gone"]
)
def test_a_broken_link_or_reference_fails_the_build(page, tmp_path):
    # The extension that mkdocs.yml names: looked for from here, or beside the file that inherits.
    shutil.copytree(_ROOT / "docs" / "_site", tmp_path / "docs" / "_site")
    (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n{page}\n")
    (tmp_path / "mkdocs.yml").write_text(
        f"INHERIT: {_ROOT / 'mkdocs.yml'}\ndocs_dir: {tmp_path / 'docs'}\nnav: [index.md]\n"
        "theme: {name: mkdocs}\n"
    )
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "gone" in done.stderr or "setup.py" in done.stderr
