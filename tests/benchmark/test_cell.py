"""What cells compute, each done in this process."""

import copy
import csv

import numpy as np
import pytest
import torch
from PIL import Image

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.benchmark import cell as cell_module
from metaiqa_plugin.benchmark.plan import read_plan
from metaiqa_plugin.benchmark.records import (
    Experiment,
    Predictions,
    read_cell,
    read_json,
    write_json,
    write_predictions,
)
from metaiqa_plugin.benchmark.run import prepare
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import correlate, score_network


@pytest.fixture
def done(do_here, written, tmp_path):
    """Does the cells of a benchmark file; their records."""
    return lambda options: do_here(written(options), tmp_path / 'runs')


@pytest.fixture(scope='module')
def adapted(two_networks, write_file, do_here, tmp_path_factory):
    """One split: from a prior, from scratch, and of a codebook; weights are kept.

    The plan and the records, in the order of the methods.
    """
    folder = tmp_path_factory.mktemp('adapted')
    options = copy.deepcopy(two_networks) | {'keep_weights': True}
    options['protocol']['splits'] = 1
    hosa = {'features': 'hosa', 'arguments': {'codewords': 8}}
    options['methods']['HOSA'] = hosa
    path = write_file(folder, options)
    return read_plan(path), do_here(path, folder / 'runs')


def test_a_network_is_trained_and_tested(adapted):
    _, records = adapted
    for record in records[:2]:
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
    prior, scratch = (record.predictions('wild').scores for record in records[:2])
    assert not np.array_equal(prior, scratch)


def test_mos_of_predictions_is_that_of_the_study(adapted):
    plan, (record, *_) = adapted
    with open(plan.databases['wild'].options.meta_info_file, newline='') as file:
        study = {row['img_name']: float(row['mos']) for row in csv.DictReader(file)}
    predictions = record.predictions('wild')
    expected = [study[image] / 100 for image in predictions.images]
    assert predictions.mos == pytest.approx(expected)


def test_time_of_priors_is_found(adapted):
    plan, (record, *_) = adapted
    root = record.folder.parents[4]
    prior = next(cell.folder for cell in plan.shared if 'metaiqa' in cell.folder)
    experiment = Experiment(root / 'tiny', {'shared': [prior]}, [record])
    seconds = read_json(root / prior / 'result.json')['measures']['seconds']
    assert experiment.shared_seconds == seconds > 0


def test_the_order_of_cells_does_not_matter(adapted, tiny, do_here, written, tmp_path):
    tiny['protocol']['splits'] = 1
    (alone,) = do_here(written(tiny), tmp_path / 'runs', only='from scratch')
    _, (_, after, _) = adapted
    alone, after = (record.predictions('wild').scores for record in (alone, after))
    assert np.array_equal(alone, after)


def test_weights_are_kept_where_asked(adapted):
    plan, (_, record, _) = adapted
    network = MetaIQA(pretrained_model_path=str(record.folder / 'weights.pth'))
    predictions = record.predictions('wild')
    folder = plan.databases['wild'].options.dataroot_target
    images = [f'{folder}/{name}' for name in predictions.images]
    assert np.allclose(score_network(network, images), predictions.scores, atol=1e-6)


def test_codebooks_are_built_on_the_source_alone(adapted):
    plan, (*_, record) = adapted
    assert record.tests['wild'].images == 6
    (features,) = (cell for cell in plan.shared if 'hosa' in cell.folder)
    (codebook,) = features.description['codebook']
    assert codebook['meta_info_file'].endswith('meta_info_small.csv')
    root = record.folder.parents[4]
    with np.load(root / features.folder / 'features.npz') as file:
        assert file['features'].shape == (30, 3 * 49 * 8)


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
    before, after, brisque, brisque_after = done(tiny)
    assert set(before.predictions('small').types) == {'jpeg'}
    assert before.tests['small'].images == brisque.tests['small'].images == 30
    assert after.tests['small'].images == brisque_after.tests['small'].images == 20
    assert before.measures['train_images'] == 0
    assert after.measures['train_images'] == 6
    assert brisque.measures['train_images'] == 60
    assert brisque_after.measures['train_images'] == 66
    assert np.isfinite(brisque.predictions('small').scores).all()
    assert not list(after.folder.rglob('*.pth')), 'weights are not kept'


def test_a_csv_that_changed_after_the_plan_is_refused(tiny, written, tmp_path):
    tiny['methods'] = {'NIQE': {'metric': 'niqe'}}
    wild = tiny['databases']['wild']
    table = tmp_path / 'copy.csv'
    with open(wild['meta_info_file']) as file:
        table.write_text(file.read())
    wild['meta_info_file'] = str(table)
    cell = read_plan(written(tiny)).cells[0]
    prepare(tmp_path, cell)
    table.write_text(table.read_text() + '\n')
    with pytest.raises(UserError, match=r'copy\.csv has changed'):
        cell_module.do(tmp_path, tmp_path / cell.folder)


def test_a_metric_whose_low_scores_are_good_changes_its_sign(done, tiny, monkeypatch):
    class Noise(torch.nn.Linear):
        lower_better, metric_name = True, 'noise'

        def forward(self, image):
            return image.std(correction=0)

    monkeypatch.setattr(cell_module, 'open_metric', lambda name, **_: Noise(1, 1))
    tiny['methods'] = {'noise': {'metric': 'niqe'}}
    tiny['protocol']['splits'] = 1
    (record,) = done(tiny)
    predictions = record.predictions('wild')
    folder = tiny['databases']['wild']['dataroot_target']
    expected = [
        -np.asarray(Image.open(f'{folder}/{name}')).std() / 255
        for name in predictions.images
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
    network, brisque = done(tiny)
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
        done(tiny)


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
