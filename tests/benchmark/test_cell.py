"""What cells compute, each done in this process."""

import csv

import numpy as np
import pytest
from PIL import Image

from metaiqa_plugin.benchmark.cell import do
from metaiqa_plugin.benchmark.plan import read_plan
from metaiqa_plugin.benchmark.records import (
    Experiment,
    Predictions,
    read_cell,
    read_json,
    write_json,
    write_predictions,
)
from metaiqa_plugin.benchmark.workspace import prepare
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import correlate


@pytest.fixture
def done(tiny, written, tmp_path):
    """Does the cells of a benchmark file; their records."""

    def do_all(options=None, only=None):
        plan = read_plan(written(options or tiny))
        root = tmp_path / 'runs'
        for cell in (*plan.shared, *plan.cells):
            if only is None or only in cell.label:
                prepare(root, cell)
                do(root, root / cell.folder)
        return [
            read_cell(root, {**cell.description, 'folder': cell.folder})
            for cell in plan.cells
            if only is None or only in cell.label
        ]

    return do_all


def test_a_network_is_trained_and_tested(done, tiny):
    tiny['protocol']['splits'] = 1
    adapted, scratch = done()
    for record in (adapted, scratch):
        assert record.state == 'finished'
        predictions = record.predictions('wild')
        assert len(predictions.images) == record.tests['wild'].images == 6
        found = correlate(predictions.scores, predictions.mos)
        assert record.tests['wild'].srocc == pytest.approx(found.srocc, abs=1e-12)
        assert record.tests['wild'].plcc == pytest.approx(found.plcc, abs=1e-12)
        assert record.measures['train_images'] == 24
        curve = record.curve()
        assert [row['epoch'] for row in curve] == [1, 2]
        assert curve[-1]['srocc'] == pytest.approx(found.srocc, abs=1e-4)
        best = record.tests['wild'].best_epoch
        assert best['srocc'] == max(row['srocc'] for row in curve)
        assert not list(record.folder.rglob('*.pth')), 'weights are not kept'
    assert not np.array_equal(
        adapted.predictions('wild').scores, scratch.predictions('wild').scores
    )


def test_time_of_priors_is_found(done, tiny, tmp_path):
    tiny['protocol']['splits'] = 1
    record, _ = done()
    shared = [cell.folder for cell in read_plan('tiny.yml').shared]
    experiment = Experiment(record.folder.parents[3], {'shared': shared}, [record])
    (result,) = (tmp_path / 'runs' / 'shared').glob('*/result.json')
    assert experiment.shared_seconds == read_json(result)['measures']['seconds'] > 0


def test_the_order_of_cells_does_not_matter(done, tiny):
    tiny['protocol']['splits'] = 1
    alone = done(only='from scratch')[0].predictions('wild').scores
    tiny['name'] = 'again'
    after = done()[1].predictions('wild').scores
    assert np.array_equal(alone, after)


def test_weights_are_kept_where_asked(done, tiny):
    tiny['methods'] = {'from scratch': tiny['methods']['from scratch']}
    tiny['protocol']['splits'] = 1
    (record,) = done({**tiny, 'keep_weights': True})
    from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
    from metaiqa_plugin.score import score_network

    network = MetaIQA(pretrained_model_path=str(record.folder / 'weights.pth'))
    predictions = record.predictions('wild')
    images = [
        f'{tiny["databases"]["wild"]["dataroot_target"]}/{name}'
        for name in predictions.images
    ]
    scores = score_network(network, images)
    assert np.allclose(scores, predictions.scores, atol=1e-6)


def test_unseen_type_before_and_after_labels(done, tiny):
    tiny['protocol'] = {
        'type': 'leave_one_distortion_out',
        'database': 'small',
        'types': ['jpeg'],
        'labels': 6,
        'references': 2,
    }
    tiny['methods'] = {
        'MetaIQA': tiny['methods']['MetaIQA'],
        'BRISQUE': {'features': 'brisque'},
    }
    before, after, brisque, brisque_after = done()
    assert set(before.predictions('small').types) == {'jpeg'}
    assert before.tests['small'].images == brisque.tests['small'].images == 30
    assert after.tests['small'].images == brisque_after.tests['small'].images == 20
    assert before.measures['train_images'] == 0
    assert after.measures['train_images'] == 6
    assert brisque.measures['train_images'] == 60
    assert brisque_after.measures['train_images'] == 66
    assert np.isfinite(brisque.predictions('small').scores).all()


def test_codebooks_are_built_on_the_source_alone(done, tiny):
    tiny['methods'] = {
        'HOSA': {'features': 'hosa', 'arguments': {'codewords': 8}},
    }
    tiny['protocol']['splits'] = 2
    records = done()
    assert [record.tests['wild'].images for record in records] == [6, 6]
    root = records[0].folder.parents[4]
    (shared,) = (root / 'shared').glob('hosa*')
    description = read_json(shared / 'cell.json')
    assert list(description['codebook']) == ['codebook-small.csv']
    with np.load(shared / 'features.npz') as file:
        assert file['features'].shape == (30, 3 * 49 * 8)


def test_a_metric_whose_low_scores_are_good_changes_its_sign(done, tiny, monkeypatch):
    class Noise:
        lower_better, metric_name = True, 'noise'

        def __call__(self, image):
            import torch

            return torch.tensor(float(np.asarray(image).std()))

    import metaiqa_plugin.benchmark.cell as cell

    monkeypatch.setattr(cell, 'open_metric', lambda name, **_: Noise())
    tiny['methods'] = {'noise': {'metric': 'niqe'}}
    tiny['protocol']['splits'] = 1
    (record,) = done()
    predictions = record.predictions('wild')
    folder = tiny['databases']['wild']['dataroot_target']
    expected = [
        -np.asarray(Image.open(f'{folder}/{name}')).std() for name in predictions.images
    ]
    assert np.allclose(predictions.scores, expected)


def test_runtime_measures_each_method(done, tiny):
    tiny['protocol'] = {
        'type': 'runtime',
        'database': 'wild',
        'images': 4,
        'rounds': 1,
    }
    tiny['methods'] = {
        'network': {'adapt': tiny['methods']['from scratch']['adapt']},
        'BRISQUE': {'features': 'brisque'},
    }
    network, brisque = done()
    for record in (network, brisque):
        assert record.measures['images_per_second'] > 0
        assert record.measures['milliseconds'] > 0
        assert record.measures['peak_memory_mb'] > 10
    assert network.measures['parameters'] > 1000


def test_an_image_that_can_not_be_read_fails_the_cell_by_name(done, tiny, tmp_path):
    tiny['methods'] = {'from scratch': tiny['methods']['from scratch']}
    broken = tmp_path / 'broken'
    broken.mkdir()
    wild = tiny['databases']['wild']
    for image in read_images(wild['meta_info_file']):
        (broken / image).write_bytes(b'no image')
    wild['dataroot_target'] = str(broken)
    with pytest.raises(UserError, match='png'):
        done()


def read_images(path):
    with open(path, newline='') as file:
        return [row['img_name'] for row in csv.DictReader(file)]


def test_predictions_come_back_exactly(tmp_path):
    generator = np.random.default_rng(0)
    scores = generator.normal(size=4)
    scores[2] = np.nan
    mos = generator.random(4).astype(np.float32)
    names = ['a,b.png', 'ä.png', '"c".png', 'd.png']
    write_predictions(
        tmp_path / 'predictions-x.csv', Predictions(names, ['all'] * 4, mos, scores)
    )
    write_json(tmp_path / 'result.json', {'tests': {}, 'measures': {'nan': np.nan}})
    record = read_cell(
        tmp_path,
        {'method': 'm', 'split': 's', 'seed': 0, 'facets': {}, 'folder': '.'},
    )
    found = record.predictions('x')
    assert found.images == names
    assert np.array_equal(found.scores, scores, equal_nan=True)
    assert np.array_equal(found.mos, mos)
    assert record.measures['nan'] is None
