"""A journal keeps what is finished, whatever became of the process that wrote it."""

import json

import pytest

from tooltrain.errors import UserError
from tooltrain.eval.journal import Journal

IDENTITY = {"player": "gold", "view": [80, 2]}
ROWS = [{"id": f"s{i}", "text": "Zürich\n" * i} for i in range(3)]


def write(directory, rows=ROWS, identity=IDENTITY):
    with Journal.open(directory, identity) as journal:
        for row in rows:
            journal.add(row)
    return directory / "samples.jsonl"


def test_rows_come_back_by_id(tmp_path):
    write(tmp_path)
    with Journal.open(tmp_path, IDENTITY) as journal:
        assert journal.rows == {row["id"]: row for row in ROWS}


def test_a_line_cut_off_anywhere_loses_that_line_alone(tmp_path):
    path = write(tmp_path)
    whole = path.read_bytes()
    before_last = whole[:-1].rindex(b"\n") + 1
    for end in range(before_last, len(whole)):
        path.write_bytes(whole[:end])
        with Journal.open(tmp_path, IDENTITY) as journal:
            assert list(journal.rows) == ["s0", "s1"]
            journal.add(ROWS[2])
        assert path.read_bytes() == whole


def test_a_finished_sample_is_not_written_twice(tmp_path):
    write(tmp_path)
    with Journal.open(tmp_path, IDENTITY) as journal, pytest.raises(ValueError, match="s1"):
        journal.add(ROWS[1])


def test_episodes_of_something_else_are_refused_and_kept(tmp_path):
    path = write(tmp_path)
    other = {**IDENTITY, "view": [512, 5]}
    with pytest.raises(UserError, match=r"view=\[80, 2\] there and \[512, 5\] now"):
        write(tmp_path, [], other)
    assert len(path.read_bytes().splitlines()) == 3
    assert json.loads((tmp_path / "run.json").read_text()) == IDENTITY


def test_a_second_process_is_refused(tmp_path):
    with Journal.open(tmp_path, IDENTITY), pytest.raises(UserError, match="another process"):
        write(tmp_path, [])


def test_a_line_that_is_no_row_is_named(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes() + b'"text"\n')
    with pytest.raises(UserError, match="line 4 is no finished sample"):
        write(tmp_path, [])
