"""Support vector regression from features to opinion scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics.pairwise import linear_kernel
from sklearn.model_selection import GroupKFold, ParameterGrid, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVR

from metaiqa_plugin.errors import UserError, one_of, whole_number

__all__ = ['Regression']

LINEAR = {'brisque': False, 'bliinds2': False, 'cornia': True, 'hosa': True}
GRIDS = {
    False: {
        'C': [2.0**n for n in range(-1, 10, 2)],
        'gamma': [2.0**n for n in range(-9, 2, 2)],
    },
    True: {'C': [0.1, 1, 10, 100]},
}
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

    - BRISQUE, BLIINDS-II: Gaussian kernel, C and gamma of ``GRIDS``.
    - CORNIA, HOSA: linear; the scaled features are centred and divided by one number,
      so that their mean squared length over the training set is 1.

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
        self.search_images = search_images
        self.chosen: dict[str, float] = {}
        linear = LINEAR[features]
        self._grid = GRIDS[linear]
        # the callable: one product of matrices, where 'linear' goes pair by pair
        svr = SVR(kernel=linear_kernel if linear else 'rbf', epsilon=EPSILON)
        length = [('length', _OneLength())] if linear else []
        self._machine = Pipeline(
            [('range', MinMaxScaler((-1, 1))), *length, ('svr', svr)]
        )

    def fit(
        self,
        features: np.ndarray,
        mos: np.ndarray,
        groups: Sequence | None,
        seed: int,
    ) -> Regression:
        """Learn from the training set; the same arguments give the same machine.

        Args:
            features: (N, F) finite numbers.
            mos: (N,) opinion scores, at least two and not all equal, or UserError.
            groups: of each image, what must not be on both sides of the
                cross-validation: its reference photo. If None, each is its own group.
            seed: draws the images of the search and their folds, at least 0.

        Returns:
            itself.
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
        self._with(self.chosen).fit(features, scores)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,) float64, on the scale of the training scores, of (N, F) features."""
        return self._machine.predict(features) * self._scale + self._location

    def _with(self, constants: dict[str, float]) -> Pipeline:
        return self._machine.set_params(
            **{f'svr__{name}': value for name, value in constants.items()}
        )

    def _search(
        self, features: np.ndarray, scores: np.ndarray, groups: np.ndarray, seed: int
    ) -> dict[str, float]:
        rows = np.arange(len(scores))
        if len(rows) > self.search_images:
            generator = np.random.default_rng(seed)
            drawn = generator.choice(rows, self.search_images, replace=False)
            rows = np.sort(drawn)
        different = len(np.unique(groups[rows]))
        if len(rows) < FEWEST_TO_SEARCH or different < 2:
            usual = {'C': 1.0, 'gamma': 1 / features.shape[1]}
            return {name: usual[name] for name in self._grid}
        folds = GroupKFold(
            min(FOLDS, different), shuffle=True, random_state=seed % 2**32
        )
        parts = list(folds.split(rows, groups=groups[rows]))

        def error(constants: dict[str, float]) -> float:
            machine = self._with(constants)
            found = cross_val_predict(machine, features[rows], scores[rows], cv=parts)
            return ((found - scores[rows]) ** 2).sum()

        return min(ParameterGrid(self._grid), key=error)


class _OneLength(TransformerMixin, BaseEstimator):
    """Centred, and divided by one number; see :class:`Regression`."""

    def fit(self, features: np.ndarray, _: object = None) -> _OneLength:
        self.centre_ = features.mean(axis=0)
        squares = ((features - self.centre_) ** 2).sum(axis=1)
        self.length_ = np.sqrt(squares.mean()) or 1.0
        return self

    def transform(self, features: np.ndarray) -> np.ndarray:
        return (features - self.centre_) / self.length_
