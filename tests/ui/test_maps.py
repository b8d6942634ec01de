"""Maps of photos, large and small."""

from PIL import Image

from metaiqa_plugin.score import open_metric
from metaiqa_plugin.ui.maps import LONGEST, draw_maps


def test_large_photos_are_shrunk_and_said_to_be(tmp_path, checkpoint, nine):
    metric = open_metric(str(checkpoint))
    Image.open(nine[0]).resize((LONGEST + 1, 64)).save(tmp_path / 'wide.png')
    assert draw_maps(tmp_path / 'wide.png', metric).shrunk
    maps = draw_maps(nine[0], metric)
    assert not maps.shrunk
    assert maps.low < maps.high
    assert maps.gradient.startswith('data:image/jpeg;base64,')
    assert maps.gradient != maps.quality
