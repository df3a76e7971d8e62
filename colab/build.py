"""Notebooks out of their sources, run, and saved with what they printed and drew.

    python -m colab.build [NAME ...]

colab/source/NAME.py is the source of colab/NAME.ipynb: a line `# %%` begins a cell of code, `# %%
[markdown]` one of text, whose lines are comments. `# !` before a line of code makes it a shell
command. Tests compare each notebook with its source and run it small (TOOLTRAIN_SMALL=1).
"""

from __future__ import annotations

import os
import pathlib
import re
import sys
import tempfile

import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).resolve().parent
SOURCES = FOLDER / "source"
_CELL = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)


def names() -> list[str]:
    """Of all notebooks."""
    return sorted(path.stem for path in SOURCES.glob("*.py"))


def notebook(name: str) -> nbformat.NotebookNode:
    """A notebook from its source, not run: title, install.txt as a cell, and the rest."""
    parts = _CELL.split((SOURCES / f"{name}.py").read_text())[1:]
    cells = []
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        text = text.strip("\n")
        if kind:
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
            cells.append(nbformat.v4.new_markdown_cell(text))
        else:
            text = re.sub(r"^# ([!%])", r"\1", text, flags=re.MULTILINE)
            cells.append(nbformat.v4.new_code_cell(text))
    install = (SOURCES / "install.txt").read_text().strip("\n")
    cells.insert(1, nbformat.v4.new_code_cell(install))
    for index, cell in enumerate(cells):
        cell.id = f"{name}-{index}"  # random by default: then no two builds would be equal
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def run(
    book: nbformat.NotebookNode, folder: pathlib.Path, *, timeout_s: int = 1800
) -> nbformat.NotebookNode:
    """Runs a notebook in `folder`; raises CellExecutionError where a cell fails."""
    client = nbclient.NotebookClient(
        book,
        timeout=timeout_s,
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,  # what is printed in pieces is one output
    )
    client.execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "code":  # progress bars, and complaints about this machine
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return book


def main() -> None:
    os.environ["PYTHONPATH"] = str(FOLDER.parent)
    for name in sys.argv[1:] or names():
        print(f"running {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            wheels = FOLDER.parent / ".cache"
            if wheels.is_dir():
                (pathlib.Path(folder) / ".cache").symlink_to(wheels)  # nothing downloaded twice
            nbformat.write(run(notebook(name), pathlib.Path(folder)), FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
