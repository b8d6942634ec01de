"""Maps of photos that are large."""

from PIL import Image

from metaiqa_plugin.score import open_metric
from metaiqa_plugin.ui.maps import LONGEST, draw_map


def test_large_photos_are_shrunk_and_said_to_be(tmp_path, checkpoint, nine):
    metric = open_metric(str(checkpoint))
    Image.open(nine[0]).resize((LONGEST + 1, 64)).save(tmp_path / 'wide.png')
    assert draw_map(tmp_path / 'wide.png', metric, 'quality')['shrunk'] == LONGEST
