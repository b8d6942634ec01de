"""Ranked groups, from photos and from a database."""

import pickle

import numpy as np
import pytest
import torch

from metaiqa_plugin.data.distortions import KADID10K, distort
from metaiqa_plugin.data.images import read_photo
from metaiqa_plugin.data.ranked import (
    PRESETS,
    PhotoGroups,
    RankedDataset,
    preset_types,
)
from metaiqa_plugin.errors import UserError


def test_the_presets_are_the_papers():
    assert PRESETS['live'] == ('gaussian_blur', 'white_noise', 'jpeg', 'jpeg2000')
    assert len(PRESETS['tid2013']) == 17
    assert 'masked_noise' not in PRESETS['tid2013']  # type 4
    assert 'sparse_sampling' not in PRESETS['tid2013']  # type 24
    assert 'chromatic_aberration' in PRESETS['tid2013']  # type 23
    assert PRESETS['kadid10k'] == KADID10K
    assert preset_types(['jpeg', 'live', 'motion_blur+jpeg']) == (
        'jpeg',
        'gaussian_blur',
        'white_noise',
        'jpeg2000',
        'motion_blur+jpeg',
    )


@pytest.mark.parametrize('names', [['jpg'], [], [7], ['live', 'noise+']])
def test_an_unknown_type_is_named(names):
    with pytest.raises(UserError, match=str(names[0]) if names else 'distortions'):
        preset_types(names)


def block(**more):
    return {
        'name': 'ranked',
        'type': 'RankedDataset',
        'phase': 'train',
        'crop_size': 32,
        'batch_size_per_gpu': 1,
        'seed': 3,
    } | more


def from_photos(folder, **more):
    return RankedDataset(block(photos=str(folder), max_side=64, **more))


def from_database(folder, **more):
    files = {
        'meta_info_file': str(folder / 'meta_info_small.csv'),
        'dataroot_target': str(folder / 'images'),
        'mos_range': [1, 5],
    }
    return RankedDataset(block(**files, **more))


@pytest.fixture(params=['photos', 'database'])
def dataset(request, small_photos, database):
    if request.param == 'photos':
        types = ['gaussian_blur', 'jpeg', 'white_noise']
        return from_photos(small_photos, distortions=types)
    return from_database(database)


def test_a_group_is_a_photo_and_a_type(dataset):
    assert len(dataset) == 6 * 3
    names = [(item['photo'], item['type']) for item in dataset.__getitems__(range(18))]
    assert len(set(names)) == 18
    item = dataset[0]
    assert item['img'].shape == (5, 3, 32, 32)
    assert item['img'].dtype == torch.uint8
    assert item['rank'].shape == (5,)
    assert item['rank'].dtype == torch.float32
    assert len(set(item['rank'].tolist())) == 5


def test_images_and_ranks_of_photos_belong_together(small_photos):
    groups = PhotoGroups(small_photos, ['jpeg'], pristine=True, max_side=0, seed=5)
    photo = np.asarray(read_photo(small_photos / groups.name(2)[0]))
    assert groups.ranks(2).tolist() == [-1, -2, -3, -4, -5, 0]
    assert np.array_equal(groups.pixels(2, 5), photo)
    for version in range(5):
        expected = distort(photo, 'jpeg', version + 1)
        assert np.array_equal(groups.pixels(2, version), expected)
    noisy = PhotoGroups(small_photos, ['white_noise'], seed=5)
    assert np.array_equal(noisy.pixels(0, 1), noisy.pixels(0, 1))
    other = PhotoGroups(small_photos, ['white_noise'], seed=6)
    assert not np.array_equal(noisy.pixels(0, 1), other.pixels(0, 1))


def test_photos_give_the_images_that_synthesis_gives(small_photos, database):
    """The database of the fixture was synthesised from the very photos."""
    groups = PhotoGroups(small_photos, ['white_noise', 'jpeg'], max_side=512, seed=0)
    for group in range(4):
        photo, kind = groups.name(group)
        for version in range(5):
            name = f'{photo.removesuffix(".png")}_{kind}_{version + 1}.png'
            expected = np.asarray(read_photo(database / 'images' / name))
            assert np.array_equal(groups.pixels(group, version), expected)


def test_images_and_ranks_of_a_database_belong_together(database):
    dataset = from_database(database)
    for group in (0, 7, 17):
        photo, kind = dataset.groups.name(group)
        stem = photo.removesuffix('.png')
        by_rank = np.argsort(-dataset.groups.ranks(group))
        for level, version in enumerate(by_rank.tolist(), start=1):
            path = database / 'images' / f'{stem}_{kind}_{level}.png'
            expected = np.asarray(read_photo(path))
            assert np.array_equal(dataset.groups.pixels(group, version), expected)


def test_the_crops_of_a_group_keep_the_order_of_its_ranks(small_photos):
    """With noise the share of it in the crop says which level it is."""
    dataset = from_photos(
        small_photos, distortions=['white_noise'], same_place=True, hflip=False
    )
    item = dataset[1]
    plain = item['img'][item['rank'].argmax()].float()
    changes = [(crop.float() - plain).square().mean() for crop in item['img']]
    order = torch.stack(changes).argsort()
    assert item['rank'][order].tolist() == [-1, -2, -3, -4, -5]


def test_same_place_crops_all_versions_alike(small_photos):
    mild = {'distortions': ['jpeg'], 'levels': [1, 1.01], 'hflip': True}
    together = from_photos(small_photos, same_place=True, **mild)
    apart = from_photos(small_photos, same_place=False, **mild)

    def difference(dataset):
        items = dataset.__getitems__(range(6))
        return np.mean(
            [(i['img'][0].float() - i['img'][1]).abs().mean().item() for i in items]
        )

    assert difference(together) < 5 < difference(apart)


def test_crops_follow_seed_and_mini_batch(dataset):
    first = dataset.__getitems__([1, 4])
    assert all(
        torch.equal(a['img'], b['img'])
        for a, b in zip(first, dataset.__getitems__([1, 4]), strict=True)
    )
    other = dataset.__getitems__([1, 5])[0]
    assert not torch.equal(first[0]['img'], other['img'])
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy.__getitems__([1, 4])[1]['img'], first[1]['img'])


def test_fewer_versions_are_drawn_anew_each_time(database):
    dataset = from_database(database, versions=2)
    drawn = {tuple(dataset.__getitems__([0, k])[0]['rank'].tolist()) for k in range(18)}
    assert len(drawn) > 3
    assert all(len(set(ranks)) == 2 for ranks in drawn)


def test_photos_are_shrunk_before_they_are_distorted_and_never_after(photos, tmp_path):
    groups = PhotoGroups(photos[0].parent, ['jpeg'], max_side=100)
    assert max(groups.pixels(0, 0).shape) == 100
    assert (
        max(PhotoGroups(photos[0].parent, ['jpeg'], max_side=0).pixels(0, 0).shape)
        == 768
    )


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ({'levels': [3]}, r'levels=\[3\]: at least two'),
        ({'levels': [1, 1]}, 'each once'),
        ({'levels': [0, 1]}, 'level'),
        ({'distortions': 'live'}, "distortions='live'"),
        ({'distortions': ['blurr']}, 'blurr'),
        ({'versions': 6}, 'versions=6: expected 2 to 5'),
        ({'versions': 1}, 'versions=1'),
        ({'photos': '/no/such/folder'}, 'photos='),
        ({'same_place': 1}, 'same_place=1'),
        ({'crop': 32}, "unknown option \\['crop'\\]"),
        ({'meta_info_file': 'a.csv'}, 'exclude each other'),
        ({'batch_size_per_gpu': 1000}, 'batch_size_per_gpu=1000'),
    ],
)
def test_bad_options_are_named(small_photos, more, message):
    with pytest.raises(UserError, match=message):
        RankedDataset(block(**{'photos': str(small_photos)} | more))


def test_a_database_without_references_is_refused(tmp_path, small_photos):
    rows = ['image,mos', *(f'{p.name},0.5' for p in small_photos.iterdir())]
    (tmp_path / 'plain.csv').write_text('\n'.join(rows))
    with pytest.raises(UserError, match='no photo has two versions'):
        RankedDataset(
            block(
                meta_info_file=str(tmp_path / 'plain.csv'),
                dataroot_target=str(small_photos),
            )
        )


def test_neither_photos_nor_a_database_is_named():
    with pytest.raises(UserError, match='meta_info_file'):
        RankedDataset(block())


def test_crops_that_show_too_little_are_warned_of(small_photos, caplog):
    import logging

    logging.getLogger('pyiqa').propagate = True
    RankedDataset(block(photos=str(small_photos), max_side=512))
    assert 'less than a third of max_side=512' in caplog.text
