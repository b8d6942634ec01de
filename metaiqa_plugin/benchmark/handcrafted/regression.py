"""Support vector regression from features to opinion scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVR

from metaiqa_plugin.errors import UserError, one_of, whole_number

__all__ = ['REGRESSION_OF', 'Regression']

REGRESSION_OF = {
    'brisque': 'rbf',
    'bliinds2': 'rbf',
    'cornia': 'linear',
    'hosa': 'linear',
}

COSTS = {'rbf': tuple(2.0**n for n in range(-1, 10, 2)), 'linear': (0.1, 1, 10, 100)}
GAMMAS = tuple(2.0**n for n in range(-9, 2, 2))
EPSILON = 0.1
FEWEST_TO_SEARCH = 10


class Regression:
    """Epsilon support vector regression whose constants are chosen by cross-validation.

    The search is inside the training set: of its images, or of ``search_images`` of
    them drawn at random, each is predicted by a machine that was trained on the other
    folds, and the constants with the least mean squared error win (as in libsvm's
    ``grid.py``; the first in the order of the grid if several have it). All images of a
    group are in one fold. Then one machine is trained on all images.

    Each feature is scaled to [-1, 1] over the training set, as the authors of BRISQUE
    and CORNIA do by libsvm's ``svm-scale``; HOSA's, as far as we remember, do not.

    - ``'rbf'``: C of 2^-1, 2^1, ... 2^9, gamma of 2^-9, 2^-7, ... 2^1.
    - ``'linear'``: the scaled features are centred and divided by one number, so that
      their mean squared length over the training set is 1; C of 0.1, 1, 10, 100.

    Scores are standardised by the mean and standard deviation of the training set, in
    units of which epsilon is 0.1: the constants mean the same on every scale.

    With fewer than 10 images or fewer than two groups there is no search: C is 1, and
    gamma 1 / features.

    Args:
        kind: ``'rbf'`` or ``'linear'``.
        folds: of the cross-validation, at least 2; fewer if there are fewer groups.
        search_images: with how many images the constants are chosen at most.

    Attributes:
        chosen: the constants, ``C`` and with ``'rbf'`` ``gamma``, after :meth:`fit`.

    Raises:
        UserError: another ``kind``, or a number out of range.
    """

    def __init__(
        self, kind: str = 'rbf', folds: int = 5, search_images: int = 1000
    ) -> None:
        one_of('kind', kind, tuple(COSTS))
        whole_number('folds', folds, least=2)
        whole_number('search_images', search_images, least=FEWEST_TO_SEARCH)
        self.kind = kind
        self.folds = folds
        self.search_images = search_images
        self.chosen: dict[str, float] = {}
        self._machine: _RbfMachine | _LinearMachine | None = None

    def fit(
        self,
        features: np.ndarray,
        mos: np.ndarray,
        groups: Sequence | None,
        seed: int,
    ) -> Regression:
        """Learn from the training set.

        The same arguments give the same machine.

        Args:
            features: (N, F) numbers, F of at least 1.
            mos: (N,) opinion scores.
            groups: of each image, what must not be on both sides of the
                cross-validation: its reference photo. If None, each is its own group.
            seed: draws the images of the search and their folds, at least 0.

        Returns:
            itself.

        Raises:
            UserError: shapes do not fit, a number is NaN or infinite (names its row),
                there are fewer than 2 images, or all scores are equal.
        """
        features = _checked_features(features)
        mos = np.asarray(mos, np.float64)
        _check_mos(mos, len(features))
        if groups is not None and len(groups) != len(mos):
            raise UserError(f'groups: {len(groups)} for {len(mos)} images')
        whole_number('seed', seed, least=0)
        scores = (mos - mos.mean()) / mos.std()
        self.chosen = self._search(features, scores, groups, seed)
        machine = _machine(self.kind, features)
        machine.fit(scores, **self.chosen)
        self._machine = machine
        self._location, self._scale = mos.mean(), mos.std()
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,) float64, on the scale of the training scores, of (N, F) features.

        Raises:
            UserError: there are not F features, one is NaN or infinite (names its row),
                or :meth:`fit` was not called.
        """
        if self._machine is None:
            raise UserError('regression: it has not learned; call fit first')
        features = _checked_features(features)
        expected = self._machine.features
        if features.shape[1] != expected:
            raise UserError(
                f'features: {features.shape[1]} of them; it has learned from {expected}'
            )
        scores = self._machine.predict(self._machine.prepared(features))
        return scores * self._scale + self._location

    def _search(
        self,
        features: np.ndarray,
        scores: np.ndarray,
        groups: Sequence | None,
        seed: int,
    ) -> dict[str, float]:
        rows = np.arange(len(scores))
        if len(rows) > self.search_images:
            drawn = np.random.default_rng(seed).choice(
                rows, self.search_images, replace=False
            )
            rows = np.sort(drawn)
        numbers = _numbered(groups, len(scores))[rows]
        different = len(np.unique(numbers))
        if len(rows) < FEWEST_TO_SEARCH or different < 2:
            return _default(self.kind, features.shape[1])
        folds = GroupKFold(
            min(self.folds, different), shuffle=True, random_state=seed % 2**32
        )
        grid = _grid(self.kind)
        errors = np.zeros(len(grid))
        for fold in folds.split(rows, groups=numbers):
            train, test = (rows[part] for part in fold)
            machine = _machine(self.kind, features[train])
            held_out = machine.prepared(features[test])
            for number, constants in enumerate(grid):
                machine.fit(scores[train], **constants)
                residuals = machine.predict(held_out) - scores[test]
                errors[number] += (residuals**2).sum()
        return grid[int(np.argmin(errors))]


class _RbfMachine:
    def __init__(self, features: np.ndarray) -> None:
        self.features = features.shape[1]
        self._scaler = MinMaxScaler((-1, 1)).fit(features)
        self._training = self.prepared(features)

    def prepared(self, features: np.ndarray) -> np.ndarray:
        return self._scaler.transform(features)

    def fit(self, scores: np.ndarray, **constants: float) -> None:
        self._svr = SVR(epsilon=EPSILON, **constants).fit(self._training, scores)

    def predict(self, prepared: np.ndarray) -> np.ndarray:
        return self._svr.predict(prepared)


class _LinearMachine:
    """Trained on inner products: the features are many, and the products serve all C.

    The machine is the same as by the features themselves.
    """

    def __init__(self, features: np.ndarray) -> None:
        self.features = features.shape[1]
        self._scaler = MinMaxScaler((-1, 1)).fit(features)
        self._centre, self._length = 0.0, 1.0
        training = self.prepared(features)
        self._centre = training.mean(axis=0)
        training -= self._centre
        self._length = np.sqrt(np.einsum('ij,ij->', training, training) / len(training))
        self._length = self._length or 1.0
        training /= self._length
        self._training = training
        self._products = training @ training.T

    def prepared(self, features: np.ndarray) -> np.ndarray:
        prepared = self._scaler.transform(features)
        prepared -= self._centre
        prepared /= self._length
        return prepared

    def fit(self, scores: np.ndarray, **constants: float) -> None:
        svr = SVR(kernel='precomputed', epsilon=EPSILON, **constants)
        svr.fit(self._products, scores)
        self._weights = svr.dual_coef_[0] @ self._training[svr.support_]
        self._bias = svr.intercept_[0]

    def predict(self, prepared: np.ndarray) -> np.ndarray:
        return prepared @ self._weights + self._bias


def _machine(kind: str, features: np.ndarray) -> _RbfMachine | _LinearMachine:
    return (_RbfMachine if kind == 'rbf' else _LinearMachine)(features)


def _grid(kind: str) -> list[dict[str, float]]:
    if kind == 'linear':
        return [{'C': cost} for cost in COSTS[kind]]
    return [{'C': cost, 'gamma': gamma} for cost in COSTS[kind] for gamma in GAMMAS]


def _default(kind: str, features: int) -> dict[str, float]:
    return {'C': 1.0} if kind == 'linear' else {'C': 1.0, 'gamma': 1 / features}


def _numbered(groups: Sequence | None, images: int) -> np.ndarray:
    """A whole number for each image, equal where the group is."""
    if groups is None:
        return np.arange(images)
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])


def _checked_features(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not features.shape[1]:
        raise UserError(
            f'features of shape {features.shape}: expected (images, features)'
        )
    wrong = np.argwhere(~np.isfinite(features))
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f'features: row {row} has {features[row, column]} in column {column}; '
            'leave this image out'
        )
    return features


def _check_mos(mos: np.ndarray, images: int) -> None:
    if mos.shape != (images,):
        raise UserError(f'mos of shape {mos.shape} for {images} images')
    wrong = np.flatnonzero(~np.isfinite(mos))
    if len(wrong):
        raise UserError(f'mos: row {wrong[0]} is {mos[wrong[0]]}; leave this image out')
    if images < 2:
        raise UserError(f'{images} training images: expected at least 2')
    if mos.min() == mos.max():
        raise UserError(
            f'mos: all {images} training images have {mos[0]}; there is nothing to '
            'learn'
        )
