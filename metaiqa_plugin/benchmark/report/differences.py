"""Differences between methods, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from metaiqa_plugin.benchmark.report.summaries import Cells, measure
from metaiqa_plugin.benchmark.report.tables import (
    NONE,
    TITLES,
    Entry,
    Table,
    columns_of,
    text_entry,
)

__all__ = ['Difference', 'difference_tables', 'holm', 'paired_difference', 'wilcoxon']

CONFIDENCE = 0.95
CORRECTED = (
    'Positive: better than the method compared with. Interval and p-value: corrected '
    'resampled t-test (Nadeau and Bengio, 2003), which multiplies the variance of the '
    'J differences by 1/J + n_test/n_train, as splits share most of their images. '
    'Wilcoxon signed-rank test beside it, which takes them as independent. Holm: '
    'corrected for the number of methods.'
)
OVER_DRAWS = (
    'Positive: better than the method compared with. Paired over draws from the same '
    'train part, tested on the same images: the usual paired t-test, which says '
    'nothing about other test images. Wilcoxon signed-rank test beside it. Holm: '
    'corrected for the number of methods.'
)


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences; NaN where a number does not exist.

    Attributes:
        mean: of the differences.
        low, high: ends of the 95% confidence interval.
        p: two-sided p-value of a mean of zero.
        factor: what the variance of the differences was multiplied by.
        pairs: J, how many.
    """

    mean: float
    low: float
    high: float
    p: float
    factor: float
    pairs: int


def paired_difference(
    differences: Sequence[float], test_over_train: float = 0.0
) -> Difference:
    """Corrected resampled t-test.

    Splits drawn at random from the same images share most of their training images, so
    that their results are correlated and the usual variance of a mean, S^2 / J, is too
    small. Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning
    52 (2003), section 3, estimate it by

        (1 / J + n_test / n_train) * S^2

    S^2 being the sample variance of the J differences; the mean over the root of it is
    compared with Student's t with J - 1 degrees of freedom.

    Args:
        differences: one per split.
        test_over_train: n_test / n_train; 0 gives the usual paired t-test.

    Returns:
        the difference; without interval and p-value for fewer than two splits. Where
        all differences are equal the interval is a point, p is 0, or 1 at zero.
    """
    values = np.asarray(differences, dtype=float)
    pairs = len(values)
    mean = float(values.mean()) if pairs else math.nan
    if pairs < 2 or not np.isfinite(values).all():
        return Difference(mean, math.nan, math.nan, math.nan, math.nan, pairs)
    factor = 1 / pairs + test_over_train
    if np.all(values == values[0]):
        return Difference(mean, mean, mean, float(values[0] == 0), factor, pairs)
    error = math.sqrt(factor * values.var(ddof=1))
    student = stats.t(pairs - 1)
    margin = float(student.ppf((1 + CONFIDENCE) / 2)) * error
    p = 2 * float(student.sf(abs(mean) / error))
    return Difference(mean, mean - margin, mean + margin, p, factor, pairs)


def wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p-value of the signed-rank test.

    Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1 (1945);
    exact for few differences, zeros left out, as ``scipy.stats.wilcoxon`` does. It
    takes the differences as independent.

    Returns:
        1 where all are zero; NaN for fewer than two or where one is NaN.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return float(stats.wilcoxon(values).pvalue) if values.any() else 1.0


def holm(p_values: Sequence[float]) -> pd.Series:
    """P-values adjusted for m tests, in the order given.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian
    Journal of Statistics 6 (1979): with p_(1) <= ... <= p_(m), the adjusted p_(i) is
    the largest of min(1, (m - j + 1) * p_(j)) over j <= i. NaN stays and is no test.
    """
    given = pd.Series(p_values, dtype=float)
    tests = given.dropna().sort_values(kind='stable')
    adjusted = (tests * np.arange(len(tests), 0, -1)).clip(upper=1).cummax()
    return adjusted.reindex(given.index)


class Group(NamedTuple):
    """Cells of which the methods are compared."""

    labels: Mapping[str, Any]  # what tells the group from others, by title of a column
    test: str
    cells: Cells
    unit: str  # what is paired, a column
    sized: Cells | None  # that say how much units share; None: nothing


def difference_tables(cells: Cells) -> list[Table]:
    """Each method against ``compare_with``; none if there is nothing to compare.

    What the tables have in common is said below the last.
    """
    base, protocol = cells.plan.get('compare_with'), cells.protocol
    draws = protocol == 'few_shot' and len(cells.values('split')) < 2
    groups = list(_groups(cells, draws))
    if not base or len(cells.methods) < 2:
        return []
    names = ('srocc', 'plcc') if protocol in ('authentic', 'zero_shot') else ('srocc',)
    tables = []
    for name in names:
        found = pd.DataFrame(
            {'group': number, **row}
            for number, group in enumerate(groups)
            for row in _compared(group, base, name)
        )
        if not len(found) or not found.pairs.any():
            return []
        for test in ('p', 'wilcoxon'):
            found[f'{test}_holm'] = found.groupby('group')[test].transform(holm)
        caption = f'{TITLES[name]}: difference to {base}'
        columns = columns_of([_row(item, draws) for item in found.itertuples()])
        tables.append(Table(caption, columns, _notes(cells, draws, found)))
    return [replace(table, notes=()) for table in tables[:-1]] + tables[-1:]


def _groups(cells: Cells, draws: bool) -> Iterator[Group]:
    """``draws``: pairs are draws of labels from one train part."""
    if cells.protocol == 'few_shot' or cells.left_out:
        for test in cells.tests:
            for labels in cells.values('labels'):
                chosen = cells.where('facets.labels', labels)
                unit, sized = 'facets.split', chosen
                if draws:
                    unit, sized = 'facets.draw', None
                elif cells.left_out:
                    unit, sized = 'facets.type', cells.where('facets.labels', 0)
                yield Group({'labels': labels}, test, chosen, unit, sized)
    elif cells.protocol == 'cross_database':
        for train in cells.values('train'):
            chosen = cells.where('facets.train', train)
            for test in chosen.tests:
                labels = {'trained on': train, 'test': test}
                yield Group(labels, test, chosen, 'split', chosen)
    else:
        for test in cells.tests:
            labels = {'test': test} if len(cells.tests) > 1 else {}
            yield Group(labels, test, cells, 'split', cells)


def _compared(group: Group, base: str, name: str) -> Iterator[dict[str, Any]]:
    """Each other method that the group has cells of, against ``base``."""
    found = group.cells.summaries(measure(group.test, name), group.unit)
    means = {
        method: item.means
        for method, item in zip(group.cells.methods, found, strict=True)
        if item.expected
    }
    theirs = means.pop(base, pd.Series(dtype=float))
    for method, ours in means.items():
        shared = [unit for unit in ours.index if unit in theirs.index]
        differences = (ours.loc[shared] - theirs.loc[shared]).to_numpy()
        ratio = _test_over_train(group, (method, base))
        yield {
            'labels': group.labels,
            'method': method,
            **vars(paired_difference(differences, ratio)),
            'wilcoxon': wilcoxon(differences),
            'ratio': ratio,
            'expected': group.cells.table[group.unit].nunique(),
        }


def _test_over_train(group: Group, methods: Sequence[str]) -> float:
    """Mean size of the test sets over that of the smaller train sets; 0 if unknown.

    Where the labelled images are a few of a train part, n_train is the whole part: it
    is the parts that a split shares with the others, not the few.
    """
    if group.sized is None:
        return 0.0
    sizes = [
        (
            cell.method,
            max(cell.measures.get('train_images') or 0, cell.pool),
            cell.tests[group.test].images,
        )
        for cell in group.sized
        if cell.method in methods and group.test in cell.tests
    ]
    known = pd.DataFrame(sizes, columns=['method', 'train', 'test'])
    trains = known.groupby('method')['train'].mean()
    smallest = trains[trains > 0].min()
    return 0.0 if math.isnan(smallest) else float(known['test'].mean() / smallest)


def _row(item: Any, draws: bool) -> dict[Any, Entry]:
    interval = factor = NONE
    if not item.pairs:
        mean = Entry('no pair', state='open')
    elif math.isnan(item.mean):
        mean = Entry('NaN', state='nan')
    else:
        mean = Entry(_signed(item.mean), item.mean)
    if not math.isnan(item.low):
        interval = Entry(f'{_signed(item.low)} to {_signed(item.high)}', item.low)
    if not math.isnan(item.factor):
        text = f'{item.factor:.3f}' + ('' if item.ratio else ' (1/J)')
        factor = Entry(text, item.factor)
    test = 'paired t-test' if draws else 'corrected t-test'
    return {
        **{title: Entry(str(label), label) for title, label in item.labels.items()},
        'method': text_entry(item.method),
        'mean difference': mean,
        '95% interval': interval,
        (test, 'p'): _p_entry(item.p),
        (test, 'p, Holm'): _p_entry(item.p_holm),
        ('Wilcoxon', 'p'): _p_entry(item.wilcoxon),
        ('Wilcoxon', 'p, Holm'): _p_entry(item.wilcoxon_holm),
        'pairs': Entry(f'{item.pairs}/{item.expected}', item.pairs),
        'variance factor': factor,
    }


def _p_entry(value: float) -> Entry:
    if math.isnan(value):
        return NONE
    return Entry('< 0.001' if value < 0.001 else f'{value:.3f}', value)


def _signed(value: float) -> str:
    text = f'{value:+.4f}'
    return text[1:] if float(text) == 0 else text


def _notes(cells: Cells, draws: bool, found: pd.DataFrame) -> list[str]:
    notes = [OVER_DRAWS if draws else CORRECTED]
    if kind := cells.left_out:
        notes.append(
            f'Paired over {kind}s. {kind.capitalize()}s are not random splits: the '
            f'interval holds for {kind}s like these.'
        )
    if cells.protocol == 'few_shot' and not draws:
        notes.append('Paired over splits, of the means over draws.')
    unsized = found.method[(found.pairs > 1) & (found.ratio == 0)].unique()
    if len(unsized) and not draws:
        notes.append(
            f'No train images are recorded for {", ".join(unsized)} and the method '
            'compared with: variance factor 1/J, the usual paired t-test, which is '
            'overconfident where test sets overlap.'
        )
    if (found.pairs == 1).any():
        notes.append('A single pair has no interval and no p-value.')
    return notes
