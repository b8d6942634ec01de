"""Tests of the support vector regression and of the choice of its constants."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.svm import SVR

from metaiqa_plugin.benchmark.handcrafted import regression
from metaiqa_plugin.benchmark.handcrafted.regression import Regression
from metaiqa_plugin.errors import UserError

KINDS = ['brisque', 'hosa']
"""With a Gaussian kernel, and linear."""


def curved(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of very different scales, and scores around 60 that are not linear."""
    features = np.random.default_rng(seed).uniform(-1, 1, (images, 3))
    scores = 60 + 20 * np.sin(2 * features[:, 0]) * features[:, 1] + features[:, 2]
    return features * [1e-3, 1, 1e4] + 5, scores


def straight(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """More features than images; the scores are linear in a few hidden factors."""
    mixing = np.random.default_rng(99).normal(size=(4, 300))
    hidden = np.random.default_rng(seed).normal(size=(images, 4))
    return hidden @ mixing, 3 + hidden @ [0.5, -0.3, 0.2, 0]


@pytest.mark.parametrize(('kind', 'problem'), [('brisque', curved), ('hosa', straight)])
def test_a_known_function_is_recovered(kind: str, problem) -> None:
    learned = Regression(kind).fit(*problem(200, 0), None, 0)
    features, scores = problem(100, 1)
    found = learned.predict(features)
    assert found.shape == (100,) and found.dtype == np.float64
    assert spearmanr(found, scores)[0] > 0.97
    assert np.sqrt(np.mean((found - scores) ** 2)) < 0.25 * scores.std()


@pytest.mark.parametrize('kind', KINDS)
def test_scores_on_another_scale_give_the_same_machine(kind: str) -> None:
    features, scores = curved(80, 0)
    found = Regression(kind).fit(features, scores, None, 0).predict(features)
    other = Regression(kind).fit(features, scores / 25 + 1, None, 0).predict(features)
    np.testing.assert_allclose(other, found / 25 + 1, rtol=1e-3)


def test_the_linear_machine_is_that_of_the_features_themselves() -> None:
    features, scores = straight(60, 0)
    learned = Regression('hosa').fit(features, scores, None, 0)
    low, high = features.min(axis=0), features.max(axis=0)
    scaled = (features - low) / (high - low) * 2 - 1
    scaled -= scaled.mean(axis=0)
    scaled /= np.sqrt((scaled**2).sum(axis=1).mean())
    plain = SVR(kernel='linear', epsilon=0.1, C=learned.chosen['C'])
    plain.fit(scaled, (scores - scores.mean()) / scores.std())
    expected = plain.predict(scaled) * scores.std() + scores.mean()
    np.testing.assert_allclose(learned.predict(features), expected, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_the_same_arguments_give_the_same_machine(kind: str) -> None:
    features, scores = curved(60, 0)
    groups = [f'photo {number // 6}' for number in range(60)]
    found = [
        Regression(kind, search_images=40)
        .fit(features, scores, groups, 3)
        .predict(features)
        for _ in range(2)
    ]
    assert np.array_equal(*found)


def recorded_fits(monkeypatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first feature of what each fold of the search learns from, and predicts."""
    seen = []
    split = regression.GroupKFold.split

    def recording(self, rows, **options):
        for train, test in split(self, rows, **options):
            seen.append((rows[train], rows[test]))
            yield train, test

    monkeypatch.setattr(regression.GroupKFold, 'split', recording)
    return seen


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('search_images', [25, 1000])
def test_no_group_is_on_both_sides_of_the_search(
    monkeypatch, kind: str, search_images: int
) -> None:
    seen = recorded_fits(monkeypatch)
    features, scores = curved(60, 0)
    groups = [f'photo {number % 12}' for number in range(60)]
    Regression(kind, search_images=search_images).fit(features, scores, groups, 0)
    assert len(seen) == 5
    held_out = np.concatenate([test for _, test in seen])
    assert len(held_out) == len(set(held_out)) == min(search_images, 60)
    for train, test in seen:
        assert len(train) + len(test) == min(search_images, 60)
        assert not set(train % 12) & set(test % 12)


def test_the_search_heeds_the_groups() -> None:
    """A feature that only names the photo looks good where the groups are ignored."""
    generator = np.random.default_rng(0)
    photo = np.repeat(np.arange(20), 6)
    quality = generator.uniform(size=120)
    features = np.stack([generator.permutation(20)[photo], quality], axis=1)
    scores = quality + 2 * generator.permutation(20)[photo] / 20
    blind = Regression('brisque').fit(features, scores, None, 0).chosen
    heeding = Regression('brisque').fit(features, scores, photo, 0).chosen
    assert blind['gamma'] > heeding['gamma']


def test_few_images_or_one_group_are_learned_without_a_search(monkeypatch) -> None:
    seen = recorded_fits(monkeypatch)
    features, scores = curved(30, 0)
    few = Regression('brisque').fit(features[:9], scores[:9], None, 0)
    one = Regression('brisque').fit(features, scores, ['a'] * 30, 0)
    assert not seen
    assert few.chosen == one.chosen == {'C': 1.0, 'gamma': 1 / 3}
    assert np.isfinite(few.predict(features)).all()
    two = Regression('hosa').fit(features[:2], scores[:2], None, 0)
    assert np.isfinite(two.predict(features)).all()
    assert spearmanr(one.predict(features), scores)[0] > 0.5


@pytest.mark.parametrize('kind', KINDS)
def test_features_that_are_constant_do_no_harm(kind: str) -> None:
    features, scores = straight(40, 0)
    features[:, 3] = 7
    learned = Regression(kind).fit(features, scores, None, 0)
    assert np.isfinite(learned.predict(features)).all()
    constant = Regression(kind).fit(features * 0, scores, None, 0)
    assert np.ptp(constant.predict(features * 0)) == 0


def test_errors_name_what_is_wrong() -> None:
    features, scores = curved(20, 0)
    learn = Regression('brisque')
    with pytest.raises(UserError, match="features='poly'"):
        Regression('poly')
    with pytest.raises(UserError, match=r'all 20 training images have 3\.0'):
        learn.fit(features, np.full(20, 3.0), None, 0)
    with pytest.raises(UserError, match='1 training images: expected at least 2'):
        learn.fit(features[:1], scores[:1], None, 0)
    with pytest.raises(UserError, match=r'seed=1\.5'):
        learn.fit(features, scores, None, 1.5)
