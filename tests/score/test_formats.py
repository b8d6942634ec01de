"""A row is a record that a reader can tell from half of one."""

import io
import json
import math
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.formats import Csv, JsonLines
from metaiqa_plugin.score.rows import ScoreRow, row_of

TEXT = st.text(st.characters(exclude_characters='\0', codec='utf-8')) | st.binary().map(
    lambda name: os.fsdecode(name.replace(b'\0', b''))
)
SCORES = st.none() | st.floats(-1e6, 1e6)
SIDES = st.none() | st.integers(1, 100_000)
ROWS = st.builds(ScoreRow, TEXT, st.tuples(SCORES, SCORES), SIDES, SIDES, TEXT)
FORMATS = (Csv, JsonLines)


def stored(text_format, rows):
    return text_format.header + b''.join(map(text_format.encode, rows))


def read(text_format, content):
    file = io.BytesIO(content)
    file.name = 'scores'
    return [text_format.decode(record) for record in text_format.records(file)]


@pytest.mark.parametrize('kind', FORMATS)
@example(rows=[ScoreRow('a\rb', (None, 1.0), error='\r')], cut=0)
@given(rows=st.lists(ROWS), cut=st.integers(0, 300))
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


def test_a_score_that_is_not_finite_is_an_error():
    row = row_of('a', (3, 4), [math.nan, 1.0, *2 * [ValueError('too small')]])
    assert row == ScoreRow(
        'a', (None, 1.0, None, None), 3, 4, 'too small; the score is nan'
    )
