"""The report command: where it writes, and what a user may get wrong."""

import json

import pytest

from tests.given_flags import given
from tooltrain.cli.report import FLAGS, report
from tooltrain.errors import UserError


@pytest.fixture
def workdirs(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "sft").mkdir(parents=True)
        lines = [json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in (1, 2)]
        (tmp_path / name / "sft" / "metrics.jsonl").write_text("".join(lines))
    return [str(tmp_path / name) for name in ("one", "two")]


def test_a_page_of_one_run_stands_in_its_workdir(workdirs, tmp_path, capsys):
    with given(FLAGS):
        report(["report", workdirs[0]])
    assert "SFT: loss" in (tmp_path / "one" / "report.html").read_text()
    assert str(tmp_path / "one" / "report.html") in capsys.readouterr().out


def test_a_page_of_several_stands_here_or_where_it_is_asked_for(workdirs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with given(FLAGS):
        report(["report", *workdirs])
    with given(FLAGS, out="pages/both.html"):
        report(["report", *workdirs])
    page = (tmp_path / "comparison.html").read_bytes()
    assert b"2 runs" in page
    assert (tmp_path / "pages" / "both.html").read_bytes() == page


def test_no_workdir_or_an_empty_one_is_a_clear_error(tmp_path):
    with given(FLAGS), pytest.raises(UserError, match="one workdir or several"):
        report(["report"])
    with given(FLAGS), pytest.raises(UserError, match="holds no metrics and no evaluation"):
        report(["report", str(tmp_path)])
