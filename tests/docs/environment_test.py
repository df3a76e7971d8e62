"""docs/environment.md: its example is what a new user would type, and it works."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_ten_lines_record_what_the_page_says(tmp_path):
    page = (_ROOT / "docs" / "environment.md").read_text()
    marked = r"<!-- run by tests/docs/environment_test.py -->\n```\w+\n(.*?)```"
    tools, command, asking = re.findall(marked, page, re.DOTALL)
    (tmp_path / "my_tools.py").write_text(tools)
    (tmp_path / "configs").symlink_to(_ROOT / "configs")  # the user's folder is a checkout

    def run(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(_ROOT)}
        done = subprocess.run(
            arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shell = command.replace("python ", f"{sys.executable} ", 1)
    printed = run("sh", "-c", shell)
    said = re.search(r"This prints `recorded (\d+) responses", page)
    assert f"recorded {said[1]} responses" in printed
    assert "is there already" in run("sh", "-c", shell)
    first, second = run(sys.executable, "-c", asking).splitlines()
    assert first == "{'fruit_id': 'red-0', 'cents': 365}"
    assert "not_recorded" in second
