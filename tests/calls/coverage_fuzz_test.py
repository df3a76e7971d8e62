"""Inputs that a coverage-guided fuzzer finds do not break the parsers or the encoder."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.calls.parser_test import TEXTS

FUZZER = pathlib.Path(__file__).with_name("coverage_fuzz.py")
REPO_ROOT = FUZZER.parent.parent.parent
LLAMA = '<|python_tag|>{"name": "a", "parameters": {"x": [1, {"y": null}]}}; {"name": "b"}'
WORDS = (
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "<|python_tag|>", "<tool_response>"),
    *('{"name": "', '"arguments": {', '"parameters": {', '"arguments": "{', "}}", '": "', "[["),
    *("\\u003a", "\\ud83d", '\\"', "null", "true", "NaN", "-Infinity", "1e999", "-0.0"),
)


@pytest.mark.slow
def test_a_minute_of_coverage_guided_inputs_breaks_no_claim(tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install -e '.[fuzz]' (Linux on x86-64 only)")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for index, text in enumerate([*TEXTS, LLAMA]):
        (corpus / str(index)).write_text(text)
    quoted = (word.encode("unicode_escape").decode().replace('"', '\\"') for word in WORDS)
    (tmp_path / "words").write_text("".join(f'"{word}"\n' for word in quoted))
    done = subprocess.run(
        [
            sys.executable,
            FUZZER,
            corpus,
            f"-dict={tmp_path / 'words'}",
            f"-artifact_prefix={tmp_path}/",
            "-seed=1",
            "-runs=200000",
            "-max_total_time=60",
            "-max_len=4096",
            "-timeout=30",
            "-rss_limit_mb=4096",
        ],
        cwd=REPO_ROOT,
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report[-5000:]
    assert int(re.search(r"Done (\d+) runs", report)[1]) > len(TEXTS), report[-5000:]
    # Without hooks in the parser it would be blind, and this no test.
    assert int(re.findall(r"cov: (\d+)", report)[-1]) > 50, report[-5000:]
