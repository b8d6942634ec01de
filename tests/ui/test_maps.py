"""Colours of maps."""

import numpy as np
from PIL import Image

from metaiqa_plugin.score import open_metric
from metaiqa_plugin.ui.maps import LONGEST, coloured, draw_maps


def test_colours_run_from_the_first_to_the_last():
    values = np.array([[-1, 0, 0.125, 0.5, 1, 7]])
    pixels = np.asarray(coloured(values))[0].tolist()
    assert pixels[0] == pixels[1] == [68, 1, 84]
    assert pixels[2] == [64, 42, 112]  # half way from #440154 to #3b528b, to even
    assert pixels[3] == [33, 145, 140]
    assert pixels[4] == pixels[5] == [253, 231, 37]


def test_large_photos_are_shrunk_and_said_to_be(tmp_path, checkpoint, nine):
    metric = open_metric(str(checkpoint))
    Image.open(nine[0]).resize((LONGEST + 1, 64)).save(tmp_path / 'wide.png')
    assert draw_maps(str(tmp_path / 'wide.png'), metric).shrunk
    maps = draw_maps(str(nine[0]), metric)
    assert not maps.shrunk
    assert maps.low < maps.high
    assert maps.gradient.startswith('data:image/jpeg;base64,')
    assert maps.gradient != maps.quality
