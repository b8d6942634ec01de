"""Agreement with MOS, against formulas and where pyiqa's own fit gives up."""

import math

import numpy as np
import pytest
from pyiqa.metrics.correlation_coefficient import fit_curve

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.agreement import agreement, correlate


def test_correlations_are_those_of_plain_formulas():
    generator = np.random.default_rng(0)
    mos = generator.random(60)
    scores = 3 * mos + generator.normal(0, 0.5, 60)
    found = agreement(scores, mos)

    def ranks(values):
        return np.argsort(np.argsort(values))

    assert found['plcc'] == pytest.approx(np.corrcoef(scores, mos)[0, 1], abs=1e-12)
    assert found['srocc'] == pytest.approx(
        np.corrcoef(ranks(scores), ranks(mos))[0, 1], abs=1e-12
    )
    signs = np.sign(np.subtract.outer(scores, scores) * np.subtract.outer(mos, mos))
    assert found['krocc'] == pytest.approx(signs.sum() / (60 * 59), abs=1e-12)
    assert found['plcc_logistic'] >= found['plcc'] - 1e-3
    assert 0 < found['rmse'] < mos.std()
    two = correlate(scores, mos)
    assert (two.srocc, two.plcc, two.images) == (found['srocc'], found['plcc'], 60)


def test_a_logistic_relation_is_fitted():
    scores = np.linspace(-4, 4, 80)
    mos = 1 / (1 + np.exp(-2 * scores))
    found = agreement(scores, mos)
    assert found['plcc_logistic'] == pytest.approx(1, abs=1e-6)
    assert found['rmse'] == pytest.approx(0, abs=1e-6)
    assert found['plcc'] < 0.97


@pytest.mark.parametrize(('sign', 'seed'), [(1, 0), (-1, 19)])
def test_a_fit_that_pyiqa_gives_up_is_still_made(sign, seed):
    generator = np.random.default_rng(seed)
    scores = generator.random(100)
    mos = 0.1 + 0.2 * np.exp(sign * 2 * scores) + generator.normal(0, 0.2, 100)
    with pytest.raises(RuntimeError), np.errstate(all='ignore'):
        fit_curve(scores, mos)
    found = agreement(scores, mos)
    assert found['plcc_logistic'] >= abs(found['plcc'])
    rising = np.corrcoef(np.exp(sign * 2 * scores), mos)[0, 1]
    assert found['plcc_logistic'] == pytest.approx(rising, abs=0.05)


@pytest.mark.parametrize('scores', [[0.5] * 5, [0.1, 0.2, math.nan, 0.3, 0.4]])
def test_what_can_not_be_computed_is_nan(scores):
    found = agreement(np.array(scores), np.linspace(0, 1, 5))
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize('measure', [agreement, correlate])
@pytest.mark.parametrize('count', [1, 3])
def test_too_few_or_unequal_many_are_refused(measure, count):
    with pytest.raises(UserError, match='as many of both and at least two'):
        measure([0.5] * count, [0.5] * 1)
