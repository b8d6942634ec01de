"""The demo from end to end, with a tiny backbone and small photos."""

import demo
import pandas as pd
import pytest
import yaml
from PIL import Image

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import read_options


@pytest.fixture
def tiny_demo(tmp_path, monkeypatch, small_photos):
    """The shipped option file with its network and its sizes made tiny."""
    options = read_options(demo.OPTION_FILE)
    options['network'] |= {
        'backbone': 'test_efficientnet',
        'pretrained': False,
        'input_size': 40,
    }
    options['datasets']['train'] |= {
        'support_size': 4,
        'query_size': 4,
        'tasks_per_epoch': 6,
        'resize': 40,
        'crop_size': 32,
        'num_worker_per_gpu': 0,
    }
    options['train']['total_epoch'] = 1
    path = tmp_path / 'demo.yml'
    path.write_text(yaml.safe_dump(plain(options)))
    monkeypatch.setattr(demo, 'KODAK', small_photos)
    monkeypatch.setattr(demo, 'NR_METRICS', ('piqe',))
    monkeypatch.setattr(demo, 'LABELS', 4)
    monkeypatch.setattr(demo, 'DRAWS', 2)
    return path


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def test_the_demo_writes_what_it_promises(tmp_path, tiny_demo, capfd):
    out = tmp_path / 'demo-results'
    assert demo.main(out, tiny_demo) == 0
    printed = capfd.readouterr().out
    assert 'SROCC before' in printed and '[5/5]' in printed
    predictions = pd.read_csv(out / 'predictions.csv')
    assert len(predictions) == 4 * 5
    assert predictions.image.str.contains('jpeg2000').all()
    assert len(pd.read_csv(out / 'photo_scores.csv')) == 12
    for name in ('learning_curve.png', 'scatter.png'):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300
    summary = (out / 'summary.md').read_text()
    assert '| meta-trained prior |' in summary
    assert '| ImageNet weights only |' in summary
    curve = pd.read_csv(out / 'experiments' / 'MetaIQA_demo' / 'learning_curve.csv')
    assert curve['iter'].tolist() == [1, 2]

    assert demo.main(out, tiny_demo) == 0


def test_a_folder_of_someone_elses_is_not_replaced(tmp_path, tiny_demo):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').touch()
    with pytest.raises(UserError, match='no demo result'):
        demo.main(tmp_path / 'mine', tiny_demo)
    assert (tmp_path / 'mine' / 'thesis.txt').exists()


def test_labelled_and_tested_photos_do_not_overlap(database):
    from metaiqa_plugin.data.labels import DatabaseOptions, read_rows

    table = str(database / 'meta_info_small.csv')
    rows = read_rows(DatabaseOptions(table, 'x', (1, 5), keep_distortions=['jpeg']))
    labelled, test = demo._draw_labels(rows, 0)
    assert len(labelled) == 10
    assert not {row.reference for row in labelled} & {row.reference for row in test}
