"""The data set of adaptation, and what the two data sets of ours share."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyiqa.data import build_dataloader, build_dataset
from pyiqa.data.data_sampler import EnlargedSampler

from metaiqa_plugin.data.datasets import LabelledDataset
from metaiqa_plugin.data.episodes import EpisodeDataset
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.store import ImageStore
from metaiqa_plugin.errors import UserError


def options(database, **changes):
    block = {
        'name': 'small',
        'type': 'LabelledDataset',
        'phase': 'train',
        'meta_info_file': str(database / 'meta_info_small.csv'),
        'dataroot_target': str(database / 'images'),
        'mos_range': [1, 5],
        'resize': 40,
        'crop_size': 32,
        'seed': 3,
        'batch_size_per_gpu': 8,
        'num_worker_per_gpu': 0,
    }
    return block | changes


def batches(block, epoch=0):
    dataset = build_dataset(block)
    sampler = EnlargedSampler(dataset, 1, 0)
    sampler.set_epoch(epoch)
    return list(build_dataloader(dataset, block, num_gpu=0, sampler=sampler, seed=1))


def test_a_batch_is_what_pyiqas_model_takes(database):
    batch = batches(options(database))[0]
    assert batch['img'].shape == (8, 3, 32, 32) and batch['img'].dtype == torch.float32
    assert 0 <= batch['img'].min() and 0.2 < batch['img'].max() <= 1
    assert batch['mos_label'].shape == (8, 1)
    table = pd.read_csv(database / 'meta_info_small.csv').set_index('img_name')
    for path, mos in zip(batch['img_path'], batch['mos_label'], strict=True):
        truth = table.loc[path.rpartition('/')[2]].pseudo_mos
        assert mos.item() == pytest.approx((truth - 1) / 4, abs=1e-6)


def test_crops_do_not_depend_on_workers_or_on_the_store(database, tmp_path):
    alone = batches(options(database))
    for other in (
        batches(options(database, num_worker_per_gpu=2)),
        batches(options(database, store=str(tmp_path / 'store'))),
    ):
        assert len(alone) == len(other) == 11
        for mine, theirs in zip(alone, other, strict=True):
            assert mine['img_path'] == theirs['img_path']
            assert torch.equal(mine['img'], theirs['img'])


def test_crops_differ_between_epochs(database):
    first = {
        path: image
        for batch in batches(options(database))
        for path, image in zip(batch['img_path'], batch['img'], strict=True)
    }
    same = [
        torch.equal(first[path], image)
        for batch in batches(options(database), epoch=1)
        for path, image in zip(batch['img_path'], batch['img'], strict=True)
        if path in first
    ]
    assert np.mean(same) < 0.1


def test_validation_sees_whole_images_of_its_part(database):
    dataset = LabelledDataset(
        options(database, phase='val', override_phase='test', split_index=1, store=True)
    )
    table = pd.read_csv(database / 'meta_info_small.csv')
    assert len(dataset) == (table['ratio802_seed123_split_01'] == 'test').sum()
    item = dataset[0]
    expected = np.asarray(read_rgb(item['img_path'])).transpose(2, 0, 1) / 255
    assert np.allclose(item['img'].numpy(), expected, atol=1e-6)
    assert not list(database.glob('*.store'))


def test_several_databases_and_their_stores(database, tmp_path):
    part = {
        'meta_info_file': str(database / 'meta_info_small.csv'),
        'dataroot_target': str(database / 'images'),
        'mos_range': [1, 5],
    }
    block = options(
        database,
        type='EpisodeDataset',
        support_size=4,
        query_size=2,
        images_per_reference=2,
        tasks_per_epoch=12,
        databases=[
            part | {'name': 'one', 'exclude_distortions': ['jpeg']},
            part | {'name': 'two', 'keep_distortions': ['jpeg'], 'lower_better': True},
        ],
    )
    for key in part:
        del block[key]
    plain = EpisodeDataset(block)
    assert plain.sampler.tasks == ['one/gaussian_blur', 'one/white_noise', 'two/jpeg']
    stored = EpisodeDataset(block | {'store': str(tmp_path / 'store')})
    assert isinstance(stored.pixels, ImageStore)
    assert {path.name for path in (tmp_path / 'store').iterdir()} == {'one', 'two'}
    seen = set()
    for index in range(12):
        mine, theirs = plain[index], stored[index]
        seen.add(mine['task'])
        assert mine['task'] == theirs['task']
        assert torch.equal(mine['support_img'], theirs['support_img'])
        assert torch.equal(mine['query_mos'], theirs['query_mos'])
    assert len(seen) == 3


def test_a_store_lies_beside_its_database(database):
    dataset = EpisodeDataset(
        options(database, type='EpisodeDataset', store=True)
        | {'support_size': 2, 'query_size': 2}
    )
    assert isinstance(dataset.pixels, ImageStore)
    assert list((database / 'images.store').glob('*.npy'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'databases': [{'name': 'a'}]}, 'belong to each of databases'),
        ({'store': 1.5}, 'store=1.5'),
        ({'phase': 'predict'}, "phase='predict'"),
        ({'dataroot_target': 'nowhere'}, "image folder 'nowhere' does not exist"),
        ({'crop_size': 41}, 'crop_size=41'),
        ({'batch_size_per_gpu': 91}, 'more than the 90 images'),
        ({'mos_range': [0, 4]}, 'outside the range 0 to 4'),
        ({'crop': 41}, r"unknown option \['crop'\]"),
    ],
)
def test_bad_options_name_themselves(database, change, message):
    with pytest.raises(UserError, match=message):
        LabelledDataset(options(database, **change))


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        ({'name': 'a'}, r"databases\[0\]: \['dataroot_target'.*must be given"),
        ({'name': 'a', 'resize': 3}, r"databases\[0\]: unknown options \['resize'\]"),
        (7, r'databases\[0\]=7'),
    ],
)
def test_bad_parts_name_themselves(part, message):
    with pytest.raises(UserError, match=message):
        LabelledDataset({'name': 'x', 'phase': 'train', 'databases': [part]})
