"""The demo from end to end, with a tiny backbone and small photos."""

import demo
import pandas as pd
import pytest
from PIL import Image

from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.errors import UserError

TINY = {
    'network.backbone': 'test_efficientnet',
    'network.pretrained': False,
    'network.input_size': 40,
    'datasets.train.support_size': 4,
    'datasets.train.query_size': 4,
    'datasets.train.tasks_per_epoch': 6,
    'datasets.train.resize': 40,
    'datasets.train.crop_size': 32,
    'datasets.train.num_worker_per_gpu': 0,
    'train.total_epoch': 1,
}


def test_the_demo_writes_what_it_promises_and_runs_again(
    tmp_path, monkeypatch, small_photos, capfd
):
    monkeypatch.setattr(demo, 'KODAK', small_photos)
    monkeypatch.setattr(demo, 'NR_METRICS', ('piqe',))
    monkeypatch.setattr(demo, 'LABELS', 6)
    monkeypatch.setattr(demo, 'DRAWS', 2)
    monkeypatch.setattr(demo, 'ADAPT_STEPS', 2)
    out = tmp_path / 'demo-results'
    out.mkdir()
    (out / demo.MARKER).touch()
    (out / 'of an earlier demo').touch()
    assert demo.main(out, TINY) == 0
    printed = capfd.readouterr().out
    assert 'SROCC before' in printed and '[5/5]' in printed
    assert not (out / 'of an earlier demo').exists()
    predictions = pd.read_csv(out / 'predictions.csv')
    assert len(predictions) == 3 * 5
    assert predictions.image.str.contains('jpeg2000').all()
    assert len(pd.read_csv(out / 'photo_scores.csv')) == 12
    for name in ('learning_curve.png', 'scatter.png'):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300
    summary = (out / 'summary.md').read_text()
    assert '| meta-trained prior | ' in summary
    assert '| ImageNet weights only | ' in summary
    curve = pd.read_csv(out / 'experiments' / 'MetaIQA_demo' / 'learning_curve.csv')
    assert curve['iter'].tolist() == [1, 2]


def test_a_folder_of_someone_elses_is_not_replaced(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').touch()
    with pytest.raises(UserError, match='not a demo result'):
        demo.main(tmp_path / 'mine')
    assert (tmp_path / 'mine' / 'thesis.txt').exists()


def test_labelled_and_tested_photos_do_not_overlap(database):
    csv = str(database / 'meta_info_small.csv')
    rows = read_rows(DatabaseOptions(csv, 'x', (1, 5), keep_distortions=['jpeg']))
    table = pd.DataFrame(list(rows))
    labelled, test = demo.draw_labels(table, 0)
    assert len(labelled) == 10
    assert not set(labelled.reference) & set(test.reference)
    assert sorted({*labelled.reference, *test.reference}) == sorted(
        set(table.reference)
    )
