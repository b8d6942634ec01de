"""The picture: what is drawn where, and that it is written."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from PIL import Image

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.level_histograms import (
    LevelScores,
    TypePanel,
    plot_level_histograms,
)

LEVELS = (LevelScores('3', [0.9, 0.9]), LevelScores('1', [0.1, 0.5]))


def panel(name='mean_shift', accuracy=0.75, error=0.125, levels=LEVELS):
    return TypePanel(name, accuracy, error, levels)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws, and returns the figure."""

    def draw(*arguments, **options):
        kept = []
        save = Figure.savefig

        def keep(figure, *args, **kwargs):
            kept.append(figure)
            save(figure, *args, **kwargs)

        monkeypatch.setattr(Figure, 'savefig', keep)
        path = tmp_path / 'new' / 'levels.png'
        plot_level_histograms(*arguments, path, 'ours', **options)
        assert [item.name for item in path.parent.iterdir()] == ['levels.png']
        assert Image.open(path).width > 500
        return kept[0]

    return draw


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
    (axes,) = drawn([panel()], [0.9, 0.9, 0.5, 0.5]).axes
    assert axes.get_title() == 'mean shift   0.75 ± 0.12'
    assert [item.get_text() for item in axes.get_yticklabels()] == ['0', '3', '1']
    pristine, mild, severe = histograms(axes)
    assert bars(pristine) == {0.9: 0.46, 0.5: 0.46}
    assert bars(mild) == {0.9: 0.92}
    assert bars(severe) == {0.1: 0.46, 0.5: 0.46}
    red, green, blue, _ = pristine.get_facecolor()
    assert red == green == blue
    assert sum(mild.get_facecolor()) > sum(severe.get_facecolor())
    places = [axes.transData.transform((0, tick))[1] for tick in axes.get_yticks()]
    assert places == sorted(places, reverse=True)


def test_better_is_to_the_right(drawn):
    for lower_better in (False, True):
        figure = drawn([panel(), panel('jpeg')], [0.9], lower_better=lower_better)
        for axes in figure.axes:
            left, right = axes.get_xlim()
            assert (left > right) == lower_better
            assert min(left, right) < 0.1 and max(left, right) > 0.9
        label = figure.get_supxlabel()
        assert 'score of ours' in label
        assert ('axis reversed' in label) == lower_better


def test_far_scores_are_counted_at_the_end_of_the_axis(drawn):
    most = np.linspace(0, 1, 400)
    levels = (LevelScores('1', most), LevelScores('2', [*most, 50.0]))
    figure = drawn([panel(levels=levels)], [])
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert -0.5 < low < 0 and 1 < high < 1.5
    assert '1 of 801' in figure.get_supxlabel()
    values, _, base = histograms(axes)[-1].get_data()
    assert base - values[-1] > 0

    figure = drawn([panel()], [])
    assert 'beyond' not in figure.get_supxlabel()


def test_unknown_figures_are_not_in_the_title(drawn):
    panels = [
        panel('jpeg', math.nan, math.nan),
        panel('jpeg', 1.0, math.nan),
        panel('white_noise_color_component', 0.5, 0.1),
    ]
    titles = [axes.get_title() for axes in drawn(panels, []).axes]
    assert titles[:2] == ['jpeg', 'jpeg   1.00']
    assert titles[2] == 'white noise color component\n0.50 ± 0.10'


@pytest.mark.parametrize(('count', 'columns'), [(1, 1), (3, 2), (7, 3), (17, 5)])
def test_every_type_has_a_panel_and_every_column_its_numbers(drawn, count, columns):
    axes = drawn([panel(f't{number:02}') for number in range(count)], [0.9]).axes
    assert [item.get_title()[:3] for item in axes] == [
        f't{number:02}' for number in range(count)
    ]
    numbered = [item.xaxis.get_tick_params()['labelbottom'] for item in axes]
    assert numbered == [place + columns >= count for place in range(count)]


def test_scores_that_are_all_the_same_have_an_axis(drawn):
    levels = (LevelScores('1', [2.0, 2.0]), LevelScores('2', [2.0]))
    (axes,) = drawn([panel(levels=levels)], [2.0]).axes
    low, high = axes.get_xlim()
    assert low < 2 < high


def test_nothing_to_draw_is_refused(tmp_path):
    for panels in ([], [panel(levels=())]):
        with pytest.raises(UserError, match='no score'):
            plot_level_histograms(panels, [], tmp_path / 'levels.png', 'ours')
    assert not (tmp_path / 'levels.png').exists()
