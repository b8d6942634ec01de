"""A table that grows: whole rows only, resumed, replaced only when asked."""

import codecs
import contextlib
import io
import json
import math
import os
import resource
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.pipeline import ScoreRow
from metaiqa_plugin.score.result_file import (
    Csv,
    JsonLines,
    check_table,
    result_file,
)

SETTINGS = {'metrics': {'m': 'abc'}, 'precision': 'fp32'}
ROWS = [
    ScoreRow('a.jpg', (0.5,), 10, 20),
    ScoreRow('line\n"break".jpg', (None,), None, None, 'cannot be read'),
    ScoreRow('c.jpg', (0.25,), 30, 40),
]
SUFFIXES = ['.csv', '.jsonl', '.parquet']
TEXT = st.text(st.characters(exclude_characters='\0', codec='utf-8')) | st.binary().map(
    lambda name: os.fsdecode(name.replace(b'\0', b''))
)
SCORES = st.none() | st.floats(-1e6, 1e6)
SIDES = st.none() | st.integers(1, 100_000)
ANY_ROWS = st.builds(ScoreRow, TEXT, st.tuples(SCORES, SCORES), SIDES, SIDES, TEXT)
FORMATS = (Csv, JsonLines)


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


def finished_files(path):
    return {path.name, f'.{path.name}.settings.json'}


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
    assert finished_files(path) == {*os.listdir(path.parent)}
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


@pytest.mark.parametrize('left', [0, 7])
def test_a_full_disk_leaves_whole_rows(tmp_path, left):
    path = tmp_path / 'scores.csv'
    with pytest.raises(Interrupted):
        write(path, ROWS[:2], stop=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = len(path.read_bytes()) + left
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, limits[1]))
    try:
        with pytest.raises(UserError, match=r"scores\.csv' cannot be written \("):
            write(path, ROWS[2:], resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes().endswith(b'cannot be read\n')
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
        pytest.raises(UserError, match=r'other columns|not a row of this table'),
        result_file(path, ['n'], SETTINGS, resume=True),
    ):
        pass
    assert contents(path) == (['a.jpg'], [0.5])
    assert finished_files(path) == {*os.listdir(tmp_path)}


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / 'scores.csv'
    path.write_text('path,m,width,height,error\nno row\n')
    with pytest.raises(UserError, match=r"not a row of this table: b'no row"):
        write(path, ROWS, resume=True)
    assert path.read_text().endswith('no row\n')


@pytest.mark.parametrize('unfinished', [True, False])
@pytest.mark.parametrize('place', [0, 3, 38])
@pytest.mark.parametrize('where', [0, 3])
def test_a_stray_quote_costs_no_row(tmp_path, unfinished, place, where):
    path = tmp_path / 'scores.csv'
    with contextlib.suppress(Interrupted):
        write(path, [replace(ROWS[0], path=f'{n}.jpg') for n in range(40)], unfinished)
    lines = path.read_text().splitlines(keepends=True)
    line = lines[place + 1]
    lines[place + 1] = f'{line[:where]}"{line[where:]}'
    path.write_text(''.join(lines))
    with pytest.raises(UserError, match='has a line that is not a row of this table'):
        write(path, ROWS, resume=True)
    assert path.read_text() == ''.join(lines)


def test_of_a_finished_table_no_whole_line_goes(tmp_path):
    path = tmp_path / 'scores.csv'
    write(path, ROWS[:1])
    content = path.read_bytes() + b'"b.jpg,0.5,10,20,\n'
    path.write_bytes(content)
    with pytest.raises(UserError, match='not a row of this table'):
        write(path, ROWS, resume=True)
    assert path.read_bytes() == content


@pytest.mark.parametrize('suffix', ['.csv', '.jsonl'])
@pytest.mark.parametrize(
    'changed',
    [lambda content: codecs.BOM_UTF8 + content, lambda c: c.replace(b'\n', b'\r\n')],
    ids=['byte order mark', 'ends of lines'],
)
def test_a_table_that_another_program_saved_goes_on(tmp_path, changed, suffix):
    path, other = tmp_path / f'scores{suffix}', tmp_path / f'other{suffix}'
    rows = [ROWS[0], ROWS[2]]
    write(other, rows)
    write(path, rows[:1])
    path.write_bytes(changed(path.read_bytes()))
    write(path, rows[1:], resume=True)
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize('suffix', SUFFIXES)
@pytest.mark.parametrize('stop', [True, False])
def test_rows_with_an_error_are_left_out_to_be_tried_again(tmp_path, suffix, stop):
    path = tmp_path / f'scores{suffix}'
    with contextlib.suppress(Interrupted):
        write(path, ROWS, stop)
    with contextlib.suppress(Interrupted):
        write(path, (), stop=True, resume=True, retry=True)
    write(path, [replace(ROWS[1], scores=(0.5,), error='')], resume=True)
    names = ['a.jpg', 'c.jpg', ROWS[1].path]
    assert contents(path) == (names, [0.5, 0.25, 0.5])


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_other_weights_do_not_go_on_a_finished_table(tmp_path, suffix):
    path = tmp_path / f'scores{suffix}'
    write(path, ROWS[:1])
    other = {**SETTINGS, 'metrics': {'m': 'other'}}
    with pytest.raises(UserError, match=r"had metrics=.*'abc'.*this one has .*'other'"):
        check_table(path, ['m'], other, resume=True)
    write(path, ROWS[2:], resume=True)
    assert contents(path)[0] == ['a.jpg', 'c.jpg']


@pytest.mark.parametrize('content', ['', '{', '[]x', '3'])
def test_a_damaged_record_of_settings_is_named(tmp_path, content):
    path = tmp_path / 'scores.csv'
    write(path, ROWS[:1])
    (tmp_path / '.scores.csv.settings.json').write_text(content)
    with pytest.raises(UserError, match=r"scores\.csv\.settings\.json'.* is damaged"):
        write(path, ROWS, resume=True)
    write(path, ROWS, overwrite=True)


@pytest.mark.parametrize('cut', [4, 200])
def test_damaged_parquet_is_named(tmp_path, cut):
    path = tmp_path / 'scores.parquet'
    write(path, ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b'x' * (len(whole) - 4 - cut) + whole[-cut:])
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"scores\.parquet' cannot be read as Parquet"):
        write(path, ROWS, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_table_is_there_until_its_replacement_is_whole(tmp_path, suffix):
    path = tmp_path / f'scores{suffix}'
    write(path, ROWS[:1])
    before = path.read_bytes()
    with pytest.raises(Interrupted):
        write(path, ROWS[1:2], stop=True, overwrite=True)
    assert path.read_bytes() == before
    write(path, ROWS[2:], resume=True)
    assert contents(path) == ([ROWS[1].path, 'c.jpg'], [-1, 0.25])
    assert finished_files(path) == {*os.listdir(tmp_path)}


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


def stored(text_format, rows):
    return text_format.header + b''.join(map(text_format.encode, rows))


def read(text_format, content):
    file = io.BytesIO(content)
    file.name = 'scores'
    return [text_format.decode(record) for record in text_format.records(file)]


@pytest.mark.parametrize('kind', FORMATS)
@example(rows=[ScoreRow('a\rb', (None, 1.0), error='\r')], cut=0)
@given(rows=st.lists(ANY_ROWS), cut=st.integers(0, 300))
def test_rows_come_back_but_for_what_was_cut_off(kind, rows, cut):
    text_format = kind(['one', 'two'])
    content = stored(text_format, rows)
    kept = max(len(text_format.header), len(content) - cut)
    found = read(text_format, content[:kept])
    whole, length = 0, len(text_format.header)
    for row in rows:
        length += len(text_format.encode(row))
        whole += length <= kept
    assert len(found) == whole
    for row, again in zip(rows, found, strict=False):
        assert (row.path, row.width, row.height, row.error) == (
            again.path,
            again.width,
            again.height,
            again.error,
        )
        for before, after in zip(row.scores, again.scores, strict=True):
            assert (before is None) == (after is None)
            assert before is None or math.isclose(before, after, rel_tol=1e-7)


def test_what_a_table_looks_like():
    row = ScoreRow('a, "b".jpg', (0.123456789, None), 640, 480, 'two: small')
    assert stored(Csv(['one', 'two']), [row]) == (
        b'path,one,two,width,height,error\n'
        b'"a, ""b"".jpg",0.12345679,,640,480,two: small\n'
    )
    assert json.loads(stored(JsonLines(['one', 'two']), [row])) == {
        'path': 'a, "b".jpg',
        'one': 0.123456789,
        'two': None,
        'width': 640,
        'height': 480,
        'error': 'two: small',
    }
    assert b'"error": null' in stored(JsonLines(['one']), [ScoreRow('a', (1.0,))])


def test_other_columns_are_refused():
    content = stored(Csv(['one']), [ScoreRow('a', (1.0,))])
    with pytest.raises(UserError, match="'scores' has other columns than path,two"):
        read(Csv(['two']), content)
    with pytest.raises(ValueError):
        read(JsonLines(['two']), stored(JsonLines(['one']), [ScoreRow('a', (1.0,))]))
