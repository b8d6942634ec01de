"""What an experiment leaves on disk, and reading it back.

::

    EXPERIMENT/plan.json                  what was asked for: see ``Experiment.plan``
    EXPERIMENT/cells/METHOD/SPLIT/SEED/   one cell
        cell.json                         all that determines its result
        result.json                       there when it is finished
        predictions-TEST.csv              image, type, mos, score
        validation.csv                    curve of its training, where it has one
        log.txt, error.txt                error.txt: one line, if the last try failed

MOS and scores of predictions are on the scale of training: [0, 1], higher better, for
the MOS; whatever a method gives for its score. A correlation that does not exist (a
constant prediction) is NaN; in JSON it is null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metaiqa_plugin.data.labels import CsvTable
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing, write_table

__all__ = ['CELL', 'CORRELATIONS', 'ERROR', 'LOG', 'PLAN', 'RESULT', 'CellRecord']
__all__ += ['Experiment', 'Predictions', 'TestRecord', 'find_experiments', 'read_cell']
__all__ += ['read_experiment', 'read_json', 'read_table', 'write_json']
__all__ += ['write_predictions']

PLAN = 'plan.json'
CELL, RESULT, ERROR, LOG = 'cell.json', 'result.json', 'error.txt', 'log.txt'
CORRELATIONS = ('srocc', 'plcc', 'plcc_logistic', 'krocc', 'rmse')
PREDICTION_COLUMNS = ('image', 'type', 'mos', 'score')


@dataclass(frozen=True)
class Predictions:
    """Predictions on the images of a test set, in its order.

    Attributes:
        images: names below the folder of their database.
        types: distortion types, or ``'all'``.
        mos: (N,) float64 in [0, 1], higher better.
        scores: (N,) float64, higher better; NaN or infinite where a method failed to
            say.
    """

    images: Sequence[str]
    types: Sequence[str]
    mos: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class TestRecord:
    """Agreement with MOS on one test set after the last epoch.

    Attributes:
        database: name of the database in ``Experiment.plan['databases']``.
        images: how many.
        srocc, plcc, krocc: of the scores as they are.
        plcc_logistic: PLCC after pyiqa's four-parameter logistic fit on the test set.
        rmse: after the same fit, in units of the normalised MOS.
        best_epoch: ``{'epoch', 'srocc', 'plcc', 'epochs'}`` of the epoch with the best
            SROCC on this test set; it was picked on the test set, so it says nothing
            about new images. None where no curve was kept.
    """

    __test__ = False

    database: str
    images: int
    srocc: float
    plcc: float
    plcc_logistic: float
    krocc: float
    rmse: float
    best_epoch: Mapping[str, float] | None = None


@dataclass(frozen=True)
class CellRecord:
    """One cell of the grid.

    Attributes:
        method, split, seed: its place in the grid.
        facets: what the split varies, e.g. ``{'labels': 50, 'draw': 1}``.
        folder: of the cell.
        state: ``'finished'``, ``'failed'`` or ``'open'``.
        error: of a failed one.
        tests: by name of the test set; empty unless finished.
        measures: other numbers: ``seconds``, ``train_images``, ``parameters``, ...
        pool: how many images the labelled ones were drawn from, if they were.
    """

    method: str
    split: str
    seed: int
    facets: Mapping[str, Any]
    folder: Path
    pool: int = 0
    state: str = 'open'
    error: str = ''
    tests: Mapping[str, TestRecord] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)

    def predictions(self, test: str) -> Predictions | None:
        """Those of one test set; None where they are not on disk."""
        path = self.folder / f'predictions-{test}.csv'
        if not path.is_file():
            return None
        rows = read_table(path)
        return Predictions(
            [row['image'] for row in rows],
            [row['type'] for row in rows],
            np.array([float(row['mos']) for row in rows]),
            np.array([float(row['score']) for row in rows]),
        )

    def curve(self) -> list[dict[str, float]]:
        """``{'epoch', 'srocc', 'plcc'}`` per epoch of training; empty if unknown."""
        path = self.folder / 'validation.csv'
        return [
            {name: float(value) for name, value in row.items()}
            for row in (read_table(path) if path.is_file() else ())
        ]


@dataclass(frozen=True)
class Experiment:
    """An experiment, whatever of it is finished.

    Attributes:
        folder: of the experiment.
        plan: what ``Plan.facts`` has, and ``options`` (the text of the option file),
            ``command``, ``commit`` and ``environment``.
        cells: in the order of the plan.
    """

    folder: Path
    plan: Mapping[str, Any]
    cells: Sequence[CellRecord]

    @property
    def finished(self) -> list[CellRecord]:
        return [cell for cell in self.cells if cell.state == 'finished']

    @property
    def shared_seconds(self) -> float:
        """Of the priors and features that its cells start from, where they are kept."""
        shared = self.plan.get('shared', ())
        results = [self.folder.parent / folder / RESULT for folder in shared]
        return sum(
            read_json(path)['measures']['seconds'] for path in results if path.is_file()
        )


def read_experiment(folder: str | os.PathLike) -> Experiment:
    """An experiment's folder.

    Raises:
        UserError: its plan is damaged.
    """
    folder = Path(folder)
    plan = read_json(folder / PLAN)
    return Experiment(folder, plan, [read_cell(folder, cell) for cell in plan['cells']])


def find_experiments(paths: Sequence[str | os.PathLike]) -> list[Path]:
    """Experiments at ``paths`` or directly below them, sorted within each.

    Raises:
        UserError: a path that holds none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        here = [path] if (path / PLAN).is_file() else []
        here = here or sorted(plan.parent for plan in path.glob(f'*/{PLAN}'))
        if not here:
            raise UserError(
                f'{str(path)!r} holds no experiment (no {PLAN} in it or one folder '
                'below); metaiqa benchmark makes one'
            )
        found += here
    return list(dict.fromkeys(found))


def read_cell(experiment: Path, planned: Mapping[str, Any]) -> CellRecord:
    """A cell of a plan: what is on disk of it."""
    folder = experiment / planned['folder']
    place = {name: planned[name] for name in ('method', 'split', 'seed', 'facets')}
    place |= {'folder': folder, 'pool': planned.get('pool', 0)}
    if (folder / RESULT).is_file():
        found = read_json(folder / RESULT)
        tests = {name: _test_record(test) for name, test in found['tests'].items()}
        return CellRecord(
            **place, state='finished', tests=tests, measures=found['measures']
        )
    if (folder / ERROR).is_file():
        text = (folder / ERROR).read_text(encoding='utf-8').strip()
        return CellRecord(**place, state='failed', error=text)
    return CellRecord(**place)


def _test_record(test: Mapping[str, Any]) -> TestRecord:
    lacking = {name: math.nan for name in CORRELATIONS if test[name] is None}
    return TestRecord(**{**test, **lacking})


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a csv that a cell wrote."""
    table = CsvTable(path, 'table')
    rows = table.rows(strip=False)
    return [dict(zip(table.header, cells, strict=True)) for _, cells in rows]


def write_predictions(path: str | os.PathLike, predictions: Predictions) -> None:
    """A csv that :meth:`CellRecord.predictions` reads back exactly."""
    numbers = (map(float, each) for each in (predictions.mos, predictions.scores))
    columns = (predictions.images, predictions.types, *numbers)
    write_table(path, PREDICTION_COLUMNS, zip(*columns, strict=True))


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """A JSON file.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(
            f'{str(path)!r} is not JSON ({error}); metaiqa '
            'benchmark makes it anew where it is removed'
        ) from error


def write_json(path: str | os.PathLike, content: Any) -> None:
    """A JSON file, whole or not at all; NaN becomes null."""
    text = json.dumps(_without_nan(content), indent=1, ensure_ascii=False)
    with replacing(Path(path)) as temporary:
        temporary.write_text(text + '\n', encoding='utf-8')


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
