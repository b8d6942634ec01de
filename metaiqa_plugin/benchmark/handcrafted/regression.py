"""Support vector regression from features to opinion scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, ParameterGrid
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVR

from metaiqa_plugin.errors import UserError, one_of, whole_number

__all__ = ['Regression']

LINEAR = {'brisque': False, 'bliinds2': False, 'cornia': True, 'hosa': True}
COSTS = {'C': [2.0**n for n in range(-1, 10, 2)]}
GAMMAS = {'gamma': [2.0**n for n in range(-9, 2, 2)]}
COSTS_OF_LINEAR = {'C': [0.1, 1, 10, 100]}
EPSILON = 0.1
FOLDS = 5
FEWEST_TO_SEARCH = 10


class Regression:
    """Epsilon support vector regression whose constants are chosen by cross-validation.

    The search is inside the training set: of its images, or of ``search_images`` of
    them drawn at random, each is predicted by a machine that was trained on the other
    of five folds, and the constants with the smallest mean squared error win (as in
    libsvm's ``grid.py``; the first in the order of the grid if several have it). All
    images of a group are in one fold. Then one machine is trained on all images.

    Each feature is scaled to [-1, 1] over the training set, as the authors of BRISQUE
    and CORNIA do by libsvm's ``svm-scale``; HOSA's, as far as we remember, do not.

    - BRISQUE, BLIINDS-II: Gaussian kernel; C of 2^-1, 2^1, ... 2^9, gamma of 2^-9,
      2^-7, ... 2^1.
    - CORNIA, HOSA: linear; the scaled features are centred and divided by one number,
      so that their mean squared length over the training set is 1; C of 0.1, 1, 10,
      100.

    Scores are standardised by the mean and standard deviation of the training set, in
    units of which epsilon is 0.1: the constants mean the same on every scale.

    With fewer than 10 images or fewer than two groups there is no search: C is 1, and
    gamma 1 / features.

    Args:
        features: a key of ``FEATURES``.
        search_images: with how many images the constants are chosen at most.

    Attributes:
        chosen: the constants, ``C`` and with a Gaussian kernel ``gamma``, after
            :meth:`fit`.

    Raises:
        UserError: there are no such features.
    """

    def __init__(self, features: str, search_images: int = 1000) -> None:
        one_of('features', features, tuple(LINEAR))
        self._kind = _LinearMachine if LINEAR[features] else _GaussianMachine
        self.search_images = search_images
        self.chosen: dict[str, float] = {}

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
            features: (N, F) finite numbers.
            mos: (N,) opinion scores.
            groups: of each image, what must not be on both sides of the
                cross-validation: its reference photo. If None, each is its own group.
            seed: draws the images of the search and their folds, at least 0.

        Returns:
            itself.

        Raises:
            UserError: there are fewer than 2 images, or all scores are equal.
        """
        whole_number('seed', seed, minimum=0)
        mos = np.asarray(mos, np.float64)
        if len(mos) < 2:
            raise UserError(f'{len(mos)} training images: expected at least 2')
        if mos.min() == mos.max():
            raise UserError(
                f'mos: all {len(mos)} training images have {mos[0]}; there is nothing '
                'to learn'
            )
        self._location, self._scale = mos.mean(), mos.std()
        scores = (mos - self._location) / self._scale
        groups = range(len(mos)) if groups is None else groups
        numbers, _ = pd.factorize(np.asarray(groups))
        self.chosen = self._search(features, scores, numbers, seed)
        self._machine = self._kind(features)
        self._machine.fit(scores, **self.chosen)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,) float64, on the scale of the training scores, of (N, F) features."""
        scores = self._machine.predict(self._machine.prepared(features))
        return scores * self._scale + self._location

    def _search(
        self, features: np.ndarray, scores: np.ndarray, groups: np.ndarray, seed: int
    ) -> dict[str, float]:
        rows = np.arange(len(scores))
        if len(rows) > self.search_images:
            drawn = np.random.default_rng(seed).choice(
                rows, self.search_images, replace=False
            )
            rows = np.sort(drawn)
        different = len(np.unique(groups[rows]))
        if len(rows) < FEWEST_TO_SEARCH or different < 2:
            return self._kind.default(features.shape[1])
        folds = GroupKFold(
            min(FOLDS, different), shuffle=True, random_state=seed % 2**32
        )
        grid = list(ParameterGrid(self._kind.grid))
        errors = np.zeros(len(grid))
        for fold in folds.split(rows, groups=groups[rows]):
            train, test = (rows[part] for part in fold)
            machine = self._kind(features[train])
            held_out = machine.prepared(features[test])
            for number, constants in enumerate(grid):
                machine.fit(scores[train], **constants)
                residuals = machine.predict(held_out) - scores[test]
                errors[number] += (residuals**2).sum()
        return grid[int(np.argmin(errors))]


class _GaussianMachine:
    grid = COSTS | GAMMAS

    def __init__(self, features: np.ndarray) -> None:
        self._scaler = MinMaxScaler((-1, 1)).fit(features)
        self._training = self.prepared(features)

    @staticmethod
    def default(features: int) -> dict[str, float]:
        return {'C': 1.0, 'gamma': 1 / features}

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

    grid = COSTS_OF_LINEAR

    def __init__(self, features: np.ndarray) -> None:
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

    @staticmethod
    def default(features: int) -> dict[str, float]:
        return {'C': 1.0}

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
