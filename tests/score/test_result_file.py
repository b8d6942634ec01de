"""A table that grows: whole rows only, gone on with, replaced only when asked."""

import errno
import json
import os

import pandas as pd
import pytest

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.result_file import result_file
from metaiqa_plugin.score.rows import ScoreRow

SETTINGS = {'metrics': {'m': 'abc'}, 'precision': 'fp32'}
ROWS = [
    ScoreRow('a.jpg', (0.5,), 10, 20),
    ScoreRow('line\n"break".jpg', (None,), None, None, 'can not be read'),
    ScoreRow('c.jpg', (0.25,), 30, 40),
]
SUFFIXES = ['.csv', '.jsonl', '.parquet']


class Interrupted(Exception):
    pass


def table(path, **options):
    return result_file(path, ['m'], SETTINGS, **options)


def write(path, rows, stop=False, **options):
    with table(path, **options) as file:
        for row in rows:
            file.write(row)
        if stop:
            raise Interrupted


def contents(path):
    if path.suffix == '.csv':
        frame = pd.read_csv(path)
    elif path.suffix == '.jsonl':
        frame = pd.read_json(path, lines=True)
    else:
        frame = pd.read_parquet(path)
    assert list(frame) == ['path', 'm', 'width', 'height', 'error']
    return frame.path.tolist(), frame.m.fillna(-1).tolist()


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_an_interrupted_table_is_gone_on_with(tmp_path, suffix):
    path = tmp_path / 'new' / f'scores{suffix}'
    with pytest.raises(Interrupted):
        write(path, ROWS[:2], stop=True)
    with pytest.raises(UserError, match=r'is unfinished; .*--resume.*--overwrite'):
        write(path, ROWS)
    with table(path, resume=True) as file:
        assert list(file.rows()) == ROWS[:2]
        file.write(ROWS[2])
    assert contents(path) == ([row.path for row in ROWS], [0.5, -1, 0.25])
    assert os.listdir(path.parent) == [path.name]
    with pytest.raises(UserError, match=r'exists; .*--resume'):
        write(path, ROWS)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_finished_table_takes_more_rows_or_is_replaced(tmp_path, suffix):
    path = tmp_path / f'scores{suffix}'
    write(path, ROWS[:1])
    write(path, ROWS[2:], resume=True)
    assert contents(path) == (['a.jpg', 'c.jpg'], [0.5, 0.25])
    write(path, ROWS[2:], overwrite=True)
    assert contents(path) == (['c.jpg'], [0.25])


@pytest.mark.parametrize('suffix', ['.csv', '.jsonl'])
@pytest.mark.parametrize('left', [1, 5, 12])
def test_half_a_row_is_cut_off(tmp_path, suffix, left):
    path = tmp_path / f'scores{suffix}'
    with pytest.raises(Interrupted):
        write(path, ROWS[:1], stop=True)
    whole = path.read_bytes()
    with pytest.raises(Interrupted):
        write(path, ROWS[1:2], stop=True, resume=True)
    path.write_bytes(path.read_bytes()[: len(whole) + left])
    write(path, ROWS[1:], resume=True)
    assert contents(path) == ([row.path for row in ROWS], [0.5, -1, 0.25])


@pytest.mark.parametrize('written', [0, 7])
def test_a_full_disk_leaves_whole_rows(tmp_path, monkeypatch, written):
    path = tmp_path / 'scores.csv'
    write_as_usual = os.write

    def full(file, record):
        if b'c.jpg' not in record:
            return write_as_usual(file, record)
        if not written:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write_as_usual(file, record[:written])

    monkeypatch.setattr(os, 'write', full)
    with pytest.raises(UserError, match=r"scores\.csv'.*(full|No space)"):
        write(path, ROWS)
    monkeypatch.undo()
    assert path.read_bytes().endswith(b'can not be read\n')
    write(path, ROWS[2:], resume=True)
    assert contents(path)[0] == [row.path for row in ROWS]


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_other_settings_do_not_go_on(tmp_path, suffix):
    path = tmp_path / f'scores{suffix}'
    with pytest.raises(Interrupted):
        write(path, ROWS, stop=True)
    other = {**SETTINGS, 'precision': 'bf16'}
    with (
        pytest.raises(UserError, match="had precision='fp32', this one has 'bf16'"),
        result_file(path, ['m'], other, resume=True),
    ):
        pass
    with result_file(path, ['m'], other, overwrite=True) as file:
        mark = json.loads((tmp_path / f'scores{suffix}.unfinished.json').read_text())
        assert mark == other
        file.write(ROWS[2])
    assert contents(path) == (['c.jpg'], [0.25])


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_other_metrics_do_not_go_on(tmp_path, suffix):
    path = tmp_path / f'scores{suffix}'
    write(path, ROWS[:1])
    with (
        pytest.raises(UserError, match=r'other columns|no row of such a table'),
        result_file(path, ['n'], SETTINGS, resume=True),
    ):
        pass
    assert contents(path) == (['a.jpg'], [0.5])
    assert os.listdir(tmp_path) == [path.name]


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / 'scores.csv'
    path.write_text('path,m,width,height,error\nno row\n')
    with pytest.raises(UserError, match=r"no row of such a table: b'no row"):
        write(path, ROWS, resume=True)
    assert path.read_text().endswith('no row\n')


def test_two_runs_do_not_write_one_table(tmp_path):
    path = tmp_path / 'scores.csv'
    with (
        table(path),
        pytest.raises(UserError, match='being written by another run'),
    ):
        write(path, ROWS, resume=True)


def test_a_suffix_that_is_no_table(tmp_path):
    with pytest.raises(UserError, match=r"scores\.txt'.*\.csv, \.jsonl, \.parquet"):
        write(tmp_path / 'scores.txt', ROWS)
