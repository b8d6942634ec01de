"""Colours that say what they should, and sheets of every shape."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.explain import sheet as explanation_sheet
from metaiqa_plugin.study.explain.maps import METHODS
from metaiqa_plugin.study.explain.sheet import Panel, draw_sheet

RNG = np.random.default_rng(0)


def steps(*values):
    """Bands of 40 columns, one a value."""
    return np.repeat(np.array(values, np.float32), 40)[None].repeat(60, axis=0)


def brightness(picture, column):
    return int(picture[30, column].astype(int).sum())


def draw(path, methods, size=(60, 90), **settings):
    image = RNG.integers(0, 255, (*size, 3), dtype=np.uint8)
    panels = [Panel(method, RNG.normal(size=size)) for method in methods]
    draw_sheet(path, image, panels, 'a $title_', 'a note', **settings)


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    saved = []

    class Kept(explanation_sheet.Figure):
        def savefig(self, *arguments, **settings):
            saved.append(self)
            super().savefig(*arguments, **settings)

    monkeypatch.setattr(explanation_sheet, 'Figure', Kept)
    return saved


@pytest.fixture
def map_picture(tmp_path, figures):
    """Colours (H, W, 3) uint8 that a map is drawn in."""

    def drawn(method, values, lower_better=False):
        image = np.zeros((*values.shape, 3), np.uint8)
        panels = [Panel(method, values)]
        draw_sheet(tmp_path / 'map.png', image, panels, '', '', lower_better)
        (shown,) = figures[-1].axes[1].images
        return shown.to_rgba(shown.get_array(), bytes=True)[..., :3]

    return drawn


@pytest.mark.parametrize('method', ['gradient', 'smooth'])
def test_no_gradient_is_black_and_more_is_brighter(method, map_picture):
    picture = map_picture(method, steps(0, 1, 2))
    assert picture.shape == (60, 120, 3)
    assert picture.dtype == np.uint8
    assert brightness(picture, 20) < 20
    assert brightness(picture, 20) < brightness(picture, 60) < brightness(picture, 100)


def test_a_few_extreme_pixels_do_not_blacken_the_rest(map_picture):
    values = np.full((100, 100), 1.0, np.float32)
    values[0, :10] = 1000
    assert brightness(map_picture('gradient', values), 50) > 600


@pytest.mark.parametrize('method', ['integrated', 'cam'])
def test_red_lowers_blue_raises_and_nothing_is_white(method, map_picture):
    picture = map_picture(method, steps(-1, 0, 1)).astype(int)
    (low_red, _, low_blue), middle, (high_red, _, high_blue) = (
        picture[30, column] for column in (10, 60, 110)
    )
    assert low_red > low_blue + 50
    assert high_blue > high_red + 50
    assert middle.min() > 235


def test_zero_stays_white_where_all_is_positive(map_picture):
    picture = map_picture('cam', steps(0, 1, 3)).astype(int)
    assert picture[30, 20].min() > 235
    assert picture[30, 100, 2] > picture[30, 100, 0] + 50


def test_neighbours_of_changing_sign_are_drawn_as_their_sum(map_picture):
    values = np.where(np.indices((200, 400)).sum(0) % 2, 1.0, -1.0)
    values[:, 200:] += 0.5
    picture = map_picture('integrated', values).astype(int)
    assert picture[100, 100].min() > 225
    assert picture[100, 300, 2] > picture[100, 300, 0] + 30


def test_bright_is_good_in_a_quality_map_whatever_the_direction(map_picture):
    values = steps(0.2, 0.5, 0.9)
    higher = map_picture('quality', values)
    lower = map_picture('quality', values, lower_better=True)
    assert brightness(higher, 100) > brightness(higher, 60) > brightness(higher, 20)
    assert brightness(lower, 100) < brightness(lower, 60) < brightness(lower, 20)


@pytest.mark.parametrize('method', METHODS)
def test_a_constant_map_is_drawn(method, map_picture):
    for value in (0.0, 0.7):
        picture = map_picture(method, np.full((20, 30), value, np.float32))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


def test_patches_without_a_score_do_not_spoil_the_others(map_picture):
    values = steps(0.2, 0.5, np.nan)
    with_hole, without = (
        map_picture('quality', each) for each in (values, steps(0.2, 0.5, 0.5))
    )
    assert np.array_equal(with_hole[:, :80], without[:, :80])
    assert map_picture('quality', values * np.nan).shape == (60, 120, 3)


def test_an_unknown_method_is_refused(tmp_path):
    with pytest.raises(UserError, match="method='lime'"):
        draw(tmp_path / 'sheet.png', ['lime'])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('size', [(60, 90), (90, 60), (400, 30), (30, 400)])
def test_nothing_overlaps_or_leaves_the_sheet(tmp_path, figures, size):
    draw(tmp_path / 'sheet.png', METHODS, size)
    figure = figures[0]
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [*figure.texts]
    boxes = []
    for axes in figure.axes:
        if axes.axison:
            boxes.append(axes.get_tightbbox(renderer))
        else:
            boxes.append(axes.get_window_extent(renderer))
            hidden = axes.xaxis.findobj(Text) + axes.yaxis.findobj(Text)
            shown = (text for text in axes.findobj(Text) if text not in hidden)
            texts += [text for text in shown if text.get_text()]
    boxes += [text.get_window_extent(renderer) for text in texts]
    pictures = 1 + len(METHODS)
    assert len(boxes) == pictures + len(METHODS) + 2 * pictures + 2
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_a_sheet_of_one_map_is_narrower_than_that_of_five(tmp_path):
    draw(tmp_path / 'one.png', ['cam'])
    draw(tmp_path / 'five.png', METHODS)
    one, five = (Image.open(tmp_path / f'{name}.png') for name in ('one', 'five'))
    assert one.width < five.width
    assert one.height < five.height


def test_the_bar_of_a_quality_map_tells_the_direction(tmp_path, figures):
    for lower_better in (False, True):
        draw(tmp_path / 'sheet.png', ['quality'], lower_better=lower_better)
    labels = [figure.axes[-1].get_ylabel() for figure in figures]
    assert labels == ['score, higher is better', 'score, lower is better']
