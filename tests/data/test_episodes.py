"""Episodes: what they hold, that they are reproducible, and the dataset around them."""

import builtins
import random
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiqa.data import build_dataloader, build_dataset
from pyiqa.data.data_sampler import EnlargedSampler

from metaiqa_plugin.data.databases.prepare import prepare
from metaiqa_plugin.data.episodes import (
    EpisodeDataset,
    EpisodeSampler,
    dealt,
)
from metaiqa_plugin.data.rows import LabelledRow, LabelledRows
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.data_order import DataOrder, train_loader


def make_rows(tasks, references, levels):
    return LabelledRows(
        LabelledRow(
            f'{reference}_{task}_{level}.png',
            level / levels,
            f't{task}',
            f'r{reference}',
        )
        for level in range(levels)
        for reference in range(references)
        for task in range(tasks)
    )


@settings(max_examples=40)
@given(
    per_reference=st.integers(1, 3),
    support=st.integers(1, 4),
    query=st.integers(1, 4),
    seed=st.lists(st.integers(0, 2**32), min_size=1, max_size=4),
)
def test_support_and_query_share_no_reference(per_reference, support, query, seed):
    rows = make_rows(3, 9, 4)
    sizes = (support * per_reference, query * per_reference, per_reference)
    episode = EpisodeSampler(rows, *sizes).sample(1, seed)
    assert (len(episode.support), len(episode.query)) == sizes[:2]
    everything = episode.support + episode.query
    assert len(set(everything)) == len(everything)
    assert {rows[index].task for index in everything} == {episode.task}
    support_references = Counter(rows[index].reference for index in episode.support)
    query_references = Counter(rows[index].reference for index in episode.query)
    assert not set(support_references) & set(query_references)
    assert set(support_references.values()) == {per_reference}


def test_same_seed_same_episode_and_global_states_untouched():
    sampler = EpisodeSampler(make_rows(5, 8, 5), 4, 4, 2)
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    first = sampler.sample(3, [3, 1])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.seed(2)
    assert sampler.sample(3, [3, 1]) == first
    assert sampler.sample(3, [3, 2]) != first
    assert sampler.sample(3, [1, 3]) != first
    assert sampler.sample(3, [4]) != first


@pytest.mark.parametrize(
    ('tasks', 'size'), [(25, 5), (25, 6), (7, 3), (4, 4), (3, 5), (2, 7), (1, 3)]
)
def test_a_task_comes_again_when_all_have_come(tasks, size):
    places = range(3 * tasks * size)
    order = [dealt(place, tasks, size, 9) for place in places]
    rounds = [order[at : at + tasks] for at in places[::tasks]]
    assert all(sorted(one) == [*range(tasks)] for one in rounds)
    for at in places[::size]:
        counts = Counter(order[at : at + size])
        assert max(counts.values()) == -(-size // tasks)
        assert size < tasks or (len(counts) == tasks and min(counts.values()) > 0)
        assert max(counts.values()) - min(counts.values()) <= 1
    if tasks > 2:
        assert len(set(map(tuple, rounds))) > 2
        assert order != [dealt(place, tasks, size, 8) for place in places]
    assert dealt(places[-1], tasks, size, 9) == order[-1]


def make_photos(tasks, scenes, burst):
    """Photos of which the first scene of each task is a burst."""
    return [
        LabelledRow(f'{task}_{scene}_{shot}.jpg', 0.5, f'p{task}', reference)
        for task in range(tasks)
        for scene in range(scenes)
        for shot, reference in enumerate(['' if scene else f'b{task}'] * burst)
        if shot == 0 or reference
    ]


def test_photos_beside_versions_have_one_photo_of_a_burst():
    rows = LabelledRows([*make_rows(2, 6, 3), *make_photos(3, 9, 4)])
    sampler = EpisodeSampler(rows, 4, 4, 2)
    drawn = [sampler.sample(index % 5, [0, index]) for index in range(1000)]
    assert [episode.task for episode in drawn[:5]] == rows.tasks
    for episode in drawn:
        images = episode.support + episode.query
        assert {rows[index].task for index in images} == {episode.task}
        assert len(set(images)) == 8
        scenes = [rows[index].image.rsplit('_', 1)[0] for index in images]
        assert len(set(scenes)) == (8 if episode.task.startswith('p') else 4)
    assert len({tuple(episode.support) for episode in drawn}) > 500


def test_photos_must_be_enough_for_an_episode_of_one_each():
    rows = LabelledRows(make_photos(2, 7, 4))
    with pytest.raises(UserError, match=r"task 'p0' has 7 references.*needs 8"):
        EpisodeSampler(rows, 4, 4, 2)


@pytest.mark.parametrize(
    ('sizes', 'message'),
    [
        ((8, 4, 2), "task 't0' has 5 references, an episode needs 6"),
        ((2, 3, 2), 'query_size=3 is not a multiple of images_per_reference=2'),
        ((0, 2, 1), 'support_size=0'),
        ((4, 4, 4), 'images_per_reference=4'),
    ],
)
def test_impossible_sizes_are_named(sizes, message):
    with pytest.raises(UserError, match=message):
        EpisodeSampler(make_rows(2, 5, 3), *sizes)


def test_absence_of_learn2learn_gives_the_command(monkeypatch):
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith('learn2learn'):
            raise ImportError('No module named learn2learn')
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(UserError, match=r'PIP_USE_PEP517=1 pip install --no-deps'):
        EpisodeSampler(make_rows(2, 5, 3), 2, 2)


def options(database, **changes):
    block = {
        'name': 'small',
        'type': 'EpisodeDataset',
        'phase': 'train',
        'meta_info_file': str(database / 'meta_info_small.csv'),
        'dataroot_target': str(database / 'images'),
        'mos_range': [1, 5],
        'support_size': 4,
        'query_size': 2,
        'images_per_reference': 2,
        'tasks_per_epoch': 12,
        'resize': 40,
        'crop_size': 32,
        'seed': 5,
        'batch_size_per_gpu': 3,
        'num_worker_per_gpu': 0,
    }
    return block | changes


def episodes(block, epoch=0):
    dataset = build_dataset(block)
    sampler = EnlargedSampler(dataset, 1, 0)
    sampler.set_epoch(epoch)
    return list(build_dataloader(dataset, block, num_gpu=0, sampler=sampler, seed=1))


def test_an_item_is_a_task_with_the_promised_tensors(database):
    batch = episodes(options(database))[0]
    assert batch['support_img'].shape == (3, 4, 3, 32, 32)
    assert batch['support_img'].dtype == torch.uint8
    assert batch['query_img'].shape == (3, 2, 3, 32, 32)
    assert batch['support_mos'].shape == (3, 4, 1)
    assert batch['support_mos'].dtype == torch.float32
    assert ((batch['query_mos'] >= 0) & (batch['query_mos'] <= 1)).all()
    assert set(batch['task']) <= {'gaussian_blur', 'jpeg', 'white_noise'}


def test_the_mini_batches_of_a_run_have_each_type_once(database):
    block = options(database)
    dataset = build_dataset(block)
    order = DataOrder(len(dataset), 3, {'total_epoch': 3}, endless=dataset.endless)
    loader = train_loader(dataset, block, order, 0, 1)
    tasks = [batch['task'] for batch in loader]
    assert len(tasks) == 12
    assert all(len(set(three)) == 3 for three in tasks)
    assert len(set(map(tuple, tasks))) > 2
    resumed = train_loader(dataset, block, order, 5, 1)
    assert [batch['task'] for batch in resumed] == tasks[5:]


def test_each_rank_has_the_tasks_of_its_places(database):
    dataset = build_dataset(options(database))
    every = dataset.__getitems__([6, 7, 8])
    dataset.ranks = 2
    found = []
    for dataset.rank in range(2):
        found += dataset.__getitems__([6, 7, 8])
    for item in found:
        same = every[item['place']]
        assert item['task'] == same['task']
        assert torch.equal(item['support_img'], same['support_img'])
    assert sorted(item['place'] for item in found) == [0, 1, 2]


def test_episodes_do_not_depend_on_the_workers(database):
    alone = episodes(options(database))
    shared = episodes(options(database, num_worker_per_gpu=2))
    assert len(alone) == len(shared) == 4
    for mine, theirs in zip(alone, shared, strict=True):
        assert mine['task'] == theirs['task']
        for key in ('support_img', 'support_mos', 'query_img', 'query_mos'):
            assert torch.equal(mine[key], theirs[key])


def test_episodes_differ_between_epochs_and_seeds(database):
    first = episodes(options(database))
    for other in (
        episodes(options(database), epoch=1),
        episodes(options(database, seed=6)),
    ):
        same = [
            torch.equal(a['support_img'][i], b['support_img'][j])
            for a in first
            for b in other
            for i in range(3)
            for j in range(3)
        ]
        assert not any(same)


def test_distortions_are_left_out_and_kept(database):
    left_out = EpisodeDataset(options(database, exclude_distortions=['jpeg']))
    assert left_out.sampler.tasks == ['gaussian_blur', 'white_noise']
    kept = EpisodeDataset(options(database, keep_distortions=['jpeg']))
    assert kept.sampler.tasks == ['jpeg']


def test_subsets_of_photos_lie_beside_distortion_types(database, published, tmp_path):
    labels = published.makers['biq2021'](tmp_path)
    prepare('biq2021', tmp_path)
    own = ('meta_info_file', 'dataroot_target', 'mos_range')
    block = options(database)
    small = {'name': 'small'} | {key: block.pop(key) for key in own}
    photos = {'database': 'biq2021', 'root': str(tmp_path), 'split_index': None}
    photos |= {'task_column': 'subset', 'reference_column': 'group'}
    dataset = EpisodeDataset(block | {'databases': [small, photos]})
    assert dataset.sampler.tasks == [
        'biq2021/ss01',
        'biq2021/ss02',
        'biq2021/ss03',
        'small/gaussian_blur',
        'small/jpeg',
        'small/white_noise',
    ]
    mos = {row.image: row.mos for row in dataset.rows if row.task.startswith('biq')}
    expected = {row['img_name']: row['mos'] for row in labels}
    assert mos == pytest.approx(expected, abs=1e-6)
    tasks = [dataset[index]['task'] for index in range(12)]
    assert len({task.partition('/')[0] for task in tasks}) == 2


def test_a_split_is_used(database):
    dataset = EpisodeDataset(
        options(database, split_index=2, support_size=2, query_size=2)
    )
    table = pd.read_csv(database / 'meta_info_small.csv')
    column = table['ratio802_seed123_split_02']
    assert {row.image for row in dataset.rows} == set(table.img_name[column == 'train'])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'tasks_per_epok': 3}, 'tasks_per_epok'),
        ({'meta_info_file': 'nowhere.csv'}, 'nowhere.csv'),
        ({'dataroot_target': 'nowhere'}, 'nowhere'),
        ({'mos_range': [0, 1]}, 'outside the range 0 to 1'),
        ({'mos_range': [5, 1]}, 'low < high'),
        ({'exclude_distortions': ['jpg']}, 'jpg'),
        ({'exclude_distortions': 'jpeg'}, "exclude_distortions='jpeg'"),
        ({'store': 3}, 'store=3'),
        ({'databases': []}, 'databases'),
        ({'crop_size': 64}, 'crop_size=64'),
        ({'split_index': 11}, 'split_index=11'),
        ({'support_size': 12}, 'has 6 references'),
        ({'seed': -1}, 'seed=-1'),
    ],
)
def test_bad_options_name_themselves(database, change, message):
    with pytest.raises(UserError, match=message):
        EpisodeDataset(options(database, **change))


def test_a_missing_image_is_named(database, tmp_path):
    table = (database / 'meta_info_small.csv').read_text().splitlines()
    table.append(table[-1].replace('white_noise_5.png', 'white_noise_6.png'))
    (tmp_path / 'meta.csv').write_text('\n'.join(table))
    with pytest.raises(UserError, match=r'1 of 91 images .*white_noise_6\.png'):
        EpisodeDataset(options(database, meta_info_file=str(tmp_path / 'meta.csv')))
