"""Pairs counted by hand, the measures made of them, and what is drawn where."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from PIL import Image
from scipy.stats import kendalltau

from metaiqa_plugin.study.ranking import (
    PRISTINE,
    RankingAccuracy,
    VersionScore,
    count_pairs,
    draw_histograms,
    order_agreement,
    ranking_accuracy,
)


def versions(photo, severity, scores, kind='jpeg'):
    """Rows of one photo and type."""
    levels = zip(severity, scores, strict=True)
    return [VersionScore(photo, kind, level, level, score) for level, score in levels]


def test_equal_scores_are_wrong_and_equal_severities_no_pair():
    assert count_pairs([0, 1, 2, 3], [4, 3, 3, 1]) == (5, 6)
    assert count_pairs([1, 1, 2], [5, 0, 3]) == (1, 2)
    assert count_pairs([2, 2], [1, 0]) == (0, 0)
    assert count_pairs([1, 2, 3], [7, 7, 7]) == (0, 3)


def test_pairs_do_not_depend_on_the_order_of_the_levels():
    assert count_pairs([3, 0, 2, 1], [1, 4, 3, 3]) == (5, 6)


def test_without_ties_accuracy_is_kendalls_tau_on_another_scale():
    generator = np.random.default_rng(3)
    for _ in range(20):
        bad, good = generator.permutation(7), generator.normal(size=7)
        right, pairs = count_pairs(bad, good)
        assert pairs == 21
        tau = kendalltau(-bad, good).statistic
        assert right / pairs == pytest.approx((tau + 1) / 2)


def test_order_agreement_is_srocc_of_mildness():
    assert order_agreement([0, 1, 2], [9, 5, 1]) == pytest.approx(1)
    assert order_agreement([0, 1, 2], [1, 5, 9]) == pytest.approx(-1)
    # ranks 4 3 2 1 against 4 3 1 2: 1 - 6 * 2 / (4 * 15)
    assert order_agreement([0, 1, 2, 3], [9, 8, 1, 2]) == pytest.approx(0.8)


@pytest.mark.filterwarnings('error')
def test_what_is_constant_tells_no_order():
    assert order_agreement([0, 1, 2], [4, 4, 4]) == 0
    assert order_agreement([1, 1, 1], [1, 2, 3]) == 0


def test_accuracy_of_one_type():
    rows = [
        *versions('a', [0, 1, 2], [9, 5, 1]),
        *versions('b', [0, 1, 2], [5, 9, 7]),
        *versions('c', [0, 1, 2], [9, 1, 5]),
    ]
    found = ranking_accuracy(rows)
    assert (found.photos, found.pairs) == (3, 9)
    # shares 1, 1/3 and 2/3: their standard deviation (n - 1) is 1/3
    assert found.accuracy == pytest.approx(6 / 9)
    assert found.standard_error == pytest.approx(1 / 3 / math.sqrt(3))
    assert found.srocc == pytest.approx((1 - 0.5 + 0.5) / 3)
    turned = ranking_accuracy(rows, lower_better=True)
    assert turned.accuracy == pytest.approx(3 / 9)


def test_types_of_one_photo_are_one_photo_of_the_standard_error():
    found = ranking_accuracy(
        [
            *versions('a', [0, 1], [2, 1]),
            *versions('b', [0, 1], [1, 2]),
            *versions('a', [0, 1, 2], [1, 2, 3], 'blur'),
        ]
    )
    assert (found.photos, found.pairs) == (2, 5)
    # photo a has 1 of 4 right, b 0 of 1
    assert found.accuracy == pytest.approx(1 / 5)
    assert found.standard_error == pytest.approx(0.25 / 2)


def test_what_has_no_pair_or_an_error_changes_nothing():
    whole = [*versions('a', [0, 1], [2, 1]), *versions('b', [0, 1], [1, 2])]
    alone = [*versions('c', [1], [5]), *versions('d', [2, 2], [5, 6])]
    failed = VersionScore('a', 'jpeg', 3, 3, error='too small')
    found = ranking_accuracy([*alone[:1], *whole, failed, *alone[1:]])
    assert found == ranking_accuracy(whole)


def test_nothing_to_compare_is_nan():
    found = ranking_accuracy(versions('a', [1], [5]))
    assert (found.photos, found.pairs) == (0, 0)
    figures = (found.accuracy, found.standard_error, found.srocc)
    assert all(math.isnan(value) for value in figures)
    one = ranking_accuracy(versions('a', [0, 1], [2, 1]))
    assert math.isnan(one.standard_error)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws, and returns the figure."""

    def draw(rows, accuracies, **options):
        kept = []
        save = Figure.savefig

        def keep(figure, *args, **kwargs):
            kept.append(figure)
            save(figure, *args, **kwargs)

        monkeypatch.setattr(Figure, 'savefig', keep)
        path = tmp_path / 'new' / 'levels.png'
        draw_histograms(path, rows, accuracies, 'ours', **options)
        assert [item.name for item in path.parent.iterdir()] == ['levels.png']
        assert Image.open(path).width > 500
        return kept[0]

    return draw


KNOWN = RankingAccuracy(2, 8, 0.75, 0.125, 0.5)


def pristine(*scores):
    return [VersionScore(f'{n}', PRISTINE, 0, 0, one) for n, one in enumerate(scores)]


def rows_of(kind, levels):
    """Rows of a type: levels with their severity and scores."""
    return [
        VersionScore(f'{number}', kind, level, severity, score)
        for level, (severity, scores) in levels.items()
        for number, score in enumerate(scores)
    ]


def shifted(kind='mean_shift'):
    """Level 3 is the milder one."""
    return rows_of(kind, {1: (2.0, [0.1, 0.5]), 3: (0.5, [0.9, 0.9])})


def histograms(axes):
    return [item for item in axes.patches if isinstance(item, StepPatch)]


def bars(patch):
    """Heights of the bins that are not empty, by the score in their middle."""
    values, edges, base = patch.get_data()
    middles = (edges[:-1] + edges[1:]) / 2
    return {
        round(middle, 1): round(base - value, 3)
        for middle, value in zip(middles, values, strict=True)
        if base != value
    }


def test_rows_are_levels_below_the_pristine_photos(drawn):
    rows = [*pristine(0.9, 0.9, 0.5, 0.5), *shifted()]
    rows.append(VersionScore('7', 'mean_shift', 1, 2.0, error='too small'))
    (axes,) = drawn(rows, {'mean_shift': KNOWN}).axes
    assert axes.get_title() == 'mean shift   0.75 ± 0.12'
    assert [item.get_text() for item in axes.get_yticklabels()] == ['0', '3', '1']
    zero, mild, severe = histograms(axes)
    assert bars(zero) == {0.9: 0.46, 0.5: 0.46}
    assert bars(mild) == {0.9: 0.92}
    assert bars(severe) == {0.1: 0.46, 0.5: 0.46}
    red, green, blue, _ = zero.get_facecolor()
    assert red == green == blue
    assert sum(mild.get_facecolor()) > sum(severe.get_facecolor())
    places = [axes.transData.transform((0, tick))[1] for tick in axes.get_yticks()]
    assert places == sorted(places, reverse=True)


def test_better_is_to_the_right(drawn):
    rows = [*pristine(0.9), *shifted(), *shifted('jpeg')]
    known = {'mean_shift': KNOWN, 'jpeg': KNOWN}
    for lower_better in (False, True):
        figure = drawn(rows, known, lower_better=lower_better)
        for axes in figure.axes:
            left, right = axes.get_xlim()
            assert (left > right) == lower_better
            assert min(left, right) < 0.1 and max(left, right) > 0.9
        label = figure.get_supxlabel()
        assert 'score of ours' in label
        assert ('axis reversed' in label) == lower_better


def test_far_scores_are_counted_at_the_end_of_the_axis(drawn):
    most = np.linspace(0, 1, 400)
    rows = rows_of('jpeg', {1: (1, most), 2: (2, [*most, 50.0])})
    figure = drawn(rows, {'jpeg': KNOWN})
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert -0.5 < low < 0 and 1 < high < 1.5
    assert '1 of 801' in figure.get_supxlabel()
    values, _, base = histograms(axes)[-1].get_data()
    assert base - values[-1] > 0

    figure = drawn(rows[:-1], {'jpeg': KNOWN})
    assert 'beyond' not in figure.get_supxlabel()


def test_unknown_figures_are_not_in_the_title(drawn):
    nan = math.nan
    known = {
        'jpeg': RankingAccuracy(0, 0, nan, nan, nan),
        'lens_blur': RankingAccuracy(1, 1, 1.0, nan, nan),
        'white_noise_color_component': RankingAccuracy(2, 2, 0.5, 0.1, 0.0),
    }
    rows = [row for kind in known for row in shifted(kind)]
    titles = [axes.get_title() for axes in drawn(rows, known).axes]
    assert titles[:2] == ['jpeg', 'lens blur   1.00']
    assert titles[2] == 'white noise color component\n0.50 ± 0.10'


@pytest.mark.parametrize(('count', 'columns'), [(1, 1), (3, 2), (7, 3)])
def test_every_type_has_a_panel_and_every_column_its_numbers(drawn, count, columns):
    known = dict.fromkeys((f't{number:02}' for number in range(count)), KNOWN)
    rows = [row for kind in known for row in shifted(kind)]
    axes = drawn(rows, known).axes
    assert [item.get_title()[:3] for item in axes] == [
        f't{number:02}' for number in range(count)
    ]
    numbered = [item.xaxis.get_tick_params()['labelbottom'] for item in axes]
    assert numbered == [place + columns >= count for place in range(count)]


def test_scores_that_are_all_the_same_have_an_axis(drawn):
    rows = [*pristine(2.0), *rows_of('jpeg', {1: (1, [2.0, 2.0]), 2: (2, [2.0])})]
    (axes,) = drawn(rows, {'jpeg': KNOWN}).axes
    low, high = axes.get_xlim()
    assert low < 2 < high
