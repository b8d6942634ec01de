"""What is said of many rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaiqa_plugin.score.pipeline import ScoreRow
from metaiqa_plugin.score.summary import Chosen, Summary, drawn

SCORES = st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


def rows(scores):
    return [
        ScoreRow(f'{place:03}.jpg', (score,), 1, 1, '' if score is not None else 'bad')
        for place, score in enumerate(scores)
    ]


@given(scores=SCORES, limit=st.integers(1, 5), lower=st.booleans(), top=st.booleans())
def test_the_best_and_worst_are_those_of_a_sorted_list(scores, limit, lower, top):
    chosen = Chosen('top' if top else 'bottom', limit, 0, lower)
    every = rows(scores)
    for row in every:
        chosen.add(row)
    sign = 1 if lower == top else -1
    known = [row for row in every if row.scores[0] is not None]
    expected = sorted(known, key=lambda row: (sign * row.scores[0], row.path))
    assert chosen.rows() == expected[:limit]


def test_those_below_a_score_come_in_their_order():
    chosen = Chosen('below', 0.5, 0, False)
    for row in rows([0.4, 0.5, None, 0.1]):
        chosen.add(row)
    assert [row.path for row in chosen.rows()] == ['000.jpg', '003.jpg']


def test_a_distribution_is_that_of_numpy():
    scores = np.random.default_rng(0).normal(0.6, 0.1, 500).astype(np.float32)
    summary = Summary(['m'])
    for row in rows([*map(float, scores), None]):
        summary.add(row)
    found = summary.distributions()['m']
    assert (summary.images, summary.failed, found['images']) == (501, 1, 500)
    assert found['mean'] == pytest.approx(scores.astype(float).mean(), abs=1e-9)
    assert found['sd'] == pytest.approx(scores.astype(float).std(ddof=1), abs=1e-9)
    assert (found['minimum'], found['maximum']) == (scores.min(), scores.max())
    assert found['median'] == pytest.approx(np.median(scores))
    assert (
        sum(found['counts']) == 500 and len(found['edges']) == len(found['counts']) + 1
    )
    lines = drawn(found).splitlines()
    assert len(lines) == len(found['counts'])
    longest = max(lines, key=lambda line: line.count('█'))
    assert longest.endswith(f' {max(found["counts"])}') and longest.count('█') == 40


def test_no_score_at_all():
    summary = Summary(['m'])
    summary.add(ScoreRow('a', (None,), error='bad'))
    assert summary.distributions()['m'] == {'images': 0}
    assert drawn(summary.distributions()['m']) == ''
