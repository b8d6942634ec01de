"""Which images each split may learn from and is tested on."""

import csv

import pytest

from metaiqa_plugin.benchmark.protocols import LabelledDatabase, read_splits
from metaiqa_plugin.data.splits import split_columns
from metaiqa_plugin.errors import UserError

TYPES = ('blur', 'jpeg', 'noise')


@pytest.fixture
def databases(tmp_path):
    """``lab``: 10 references, 3 types, 4 levels; ``wild``: 50 photos."""
    lab = tmp_path / 'lab.csv'
    references = [f'r{place}' for place in range(10)]
    splits = split_columns(references)
    write(
        lab,
        ['img_name', 'mos', 'distortion', 'ref_name', *splits],
        [
            [f'{ref}-{kind}-{level}', level, kind, ref]
            + [parts[ref] for parts in splits.values()]
            for ref in references
            for kind in TYPES
            for level in range(4)
        ],
    )
    wild = tmp_path / 'wild.csv'
    names = [f'photo{place}' for place in range(50)]
    splits = split_columns(names)
    write(
        wild,
        ['img_name', 'mos', *splits],
        [
            [name, place, *(parts[name] for parts in splits.values())]
            for place, name in enumerate(names)
        ],
    )
    return {
        name: LabelledDatabase(
            name,
            {
                'meta_info_file': str(tmp_path / f'{name}.csv'),
                'dataroot_target': '.',
                'mos_range': (0, high),
            },
        )
        for name, high in (('lab', 4), ('wild', 50))
    }


def write(path, header, rows):
    with path.open('w', newline='') as file:
        csv.writer(file).writerows([header, *rows])


def splits_of(protocol, databases, **options):
    return read_splits({'type': protocol, **options}, databases)


def rows_of(part):
    return [part.database.rows[index] for index in part.rows]


def test_authentic_splits_are_those_of_the_csv(databases):
    found = splits_of('authentic', databases, target='wild', source=['lab'])
    assert [split.name for split in found] == [f'{n:02d}' for n in range(1, 11)]
    for split in found:
        assert len(split.train) == 40
        assert len(split.tests['wild']) == 10
        assert not set(split.train.rows) & set(split.tests['wild'].rows)
        assert [len(part) for part in split.source] == [120]
    assert len({split.tests['wild'].rows for split in found}) == 10


def test_a_reference_in_two_parts_is_no_split(databases, tmp_path):
    table = tmp_path / 'lab.csv'
    lines = table.read_text().splitlines()
    here, there = lines[1].rpartition(','), lines[2].rpartition(',')
    part = {'train': 'test', 'test': 'train'}[there[2]]
    lines[2] = ''.join((*there[:2], part))
    assert here[2] != part
    table.write_text('\n'.join(lines))
    with pytest.raises(UserError, match="reference 'r0' is in part"):
        splits_of('authentic', databases, target='lab', splits=[10])
    assert splits_of('authentic', databases, target='lab', splits=9)


def test_authentic_with_few_labels_keeps_the_test_part(databases):
    whole = splits_of('authentic', databases, target='wild', splits=[2, 5])
    few = splits_of('authentic', databases, target='wild', splits=[2, 5], labels=7)
    for one, other in zip(whole, few, strict=True):
        assert one.tests == other.tests
        assert len(other.train) == 7
        assert (one.pool, other.pool) == (40, 40)
        assert set(other.train.rows) < set(one.train.rows)


def test_a_left_out_type_is_in_no_source(databases):
    found = splits_of('leave_one_distortion_out', databases, database='lab')
    assert [split.name for split in found] == list(TYPES)
    for split in found:
        unseen = rows_of(split.tests['lab'])
        (source,) = split.source
        assert {row.task for row in unseen} == {split.name}
        assert len(unseen) == 40
        assert split.name not in {row.task for row in rows_of(source)}
        assert len(source) == 80
        assert split.train is None


def test_labels_of_an_unseen_type_are_of_other_photos_than_the_test(databases):
    options = {'database': 'lab', 'types': ['jpeg'], 'labels': 6, 'draws': 2}
    before, first, second = splits_of(
        'leave_one_distortion_out', databases, references=3, **options
    )
    assert before.facets == {'type': 'jpeg', 'labels': 0}
    for split in (first, second):
        train = rows_of(split.train)
        test = rows_of(split.tests['lab'])
        assert len(train) == 6
        assert len(test) == 7 * 4
        assert {row.task for row in (*train, *test)} == {'jpeg'}
        assert not {row.reference for row in train} & {row.reference for row in test}
    assert first.train != second.train


def photos(tmp_path, references):
    """Three subsets of 20 photos with these bursts."""
    names = [f's{subset} {photo}' for subset in range(3) for photo in range(20)]
    write(
        tmp_path / 'photos.csv',
        ['img_name', 'mos', 'subset', 'group'],
        [[name, 0.5, name[:2], references.get(name, '')] for name in names],
    )
    block = {'meta_info_file': str(tmp_path / 'photos.csv'), 'dataroot_target': '.'}
    block |= {'task_column': 'subset', 'reference_column': 'group'}
    return {'photos': LabelledDatabase('photos', block)}


def test_a_left_out_subset_shares_no_burst_with_what_is_learned(tmp_path):
    bursts = {f's0 {photo}': f'burst {photo // 5}' for photo in range(10)}
    found = photos(tmp_path, bursts | {'s1 0': 'burst 0'})
    options = {'database': 'photos', 'labels': [0, 3, 6], 'draws': 2}
    splits = splits_of('leave_one_subset_out', found, **options)
    assert len(splits) == 3 * (1 + 2 * 2)
    for split in splits:
        subset = split.facets['type']
        test = rows_of(split.tests['photos'])
        (source,) = split.source
        train = rows_of(split.train) if split.train else []
        assert {row.task for row in (*test, *train)} == {subset}
        learned = [*rows_of(source), *train]
        shared = {row.reference for row in learned} & {row.reference for row in test}
        assert shared <= {''}
        assert len(train) == split.facets['labels']
        burst = [row.reference for row in train if row.reference]
        assert len(set(burst)) == len(burst)
        if not train:
            assert len(test) == 20
            assert len(source) == {'s0': 39, 's1': 35, 's2': 40}[subset]
    for few, more in zip(splits[1::5], splits[2::5], strict=True):
        assert few.tests == more.tests
        assert set(few.train.rows) < set(more.train.rows)
    drawn = {split.train.rows for split in splits if split.facets['labels'] == 6}
    assert len(drawn) == 6


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'labels': [20]}, r"labels=20: subset 's0' .* 20 groups"),
        ({'labels': [1]}, 'labels=1'),
        ({'subsets': ['s9']}, r"subsets=\['s9'\]"),
        ({'draws': 0}, 'draws=0'),
    ],
)
def test_faults_of_a_left_out_subset(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        splits_of(
            'leave_one_subset_out', photos(tmp_path, {}), database='photos', **options
        )


def test_subsets_of_the_same_references_are_none(databases):
    with pytest.raises(UserError, match='shares a reference'):
        splits_of('leave_one_subset_out', databases, database='lab')


def test_larger_draws_contain_the_smaller_ones(databases):
    found = splits_of(
        'few_shot', databases, target='wild', labels=[5, 10, 40], draws=2, splits=[3]
    )
    assert len({split.name for split in found}) == 6
    by_draw = {}
    for split in found:
        by_draw.setdefault(split.facets['draw'], []).append(set(split.train.rows))
        assert not set(split.train.rows) & set(split.tests['wild'].rows)
    for small, middle, large in by_draw.values():
        assert (len(small), len(middle), len(large)) == (5, 10, 40)
        assert small < middle < large
    assert by_draw[0][0] != by_draw[1][0]


def test_cross_database(databases):
    whole = splits_of('cross_database', databases, train=['lab', 'wild'])
    assert [(split.name, list(split.tests)) for split in whole] == [
        ('lab', ['wild']),
        ('wild', ['lab']),
    ]
    assert len(whole[0].train) == 120
    diagonal = splits_of('cross_database', databases, train=['wild'], split=1)
    assert len(diagonal[0].train) == 40
    assert len(diagonal[0].tests['wild']) == 10
    with pytest.raises(UserError, match='nothing is left to test'):
        splits_of('cross_database', databases, train=['wild'])


def test_zero_shot_and_runtime(databases):
    (split,) = splits_of('zero_shot', databases, targets=['lab', 'wild'])
    assert {name: len(part) for name, part in split.tests.items()} == {
        'lab': 120,
        'wild': 50,
    }
    assert split.train is None
    parts = splits_of('zero_shot', databases, targets=['wild'], splits=2)
    assert [len(split.tests['wild']) for split in parts] == [10, 10]
    rounds = splits_of('runtime', databases, database='wild', images=8, rounds=2)
    assert [len(split.tests['wild']) for split in rounds] == [8, 8]
    assert rounds[0].tests == rounds[1].tests


def test_the_same_options_give_the_same_splits(databases):
    options = {'target': 'wild', 'labels': [5], 'draws': 3}
    assert splits_of('few_shot', databases, **options) == splits_of(
        'few_shot', databases, **options
    )


@pytest.mark.parametrize(
    ('protocol', 'options', 'message'),
    [
        ('authentic', {'target': 'x'}, r"protocol\.target='x'.*\['lab', 'wild'\]"),
        ('authentic', {'target': 'wild', 'splits': 11}, 'no column.*split_11'),
        ('authentic', {'target': 'wild', 'splits': 0}, 'splits=0'),
        ('authentic', {'target': 'wild', 'labels': 41}, 'labels=41.*40 images'),
        ('authentic', {'target': 'wild', 'source': ['lab', 'lab']}, 'twice'),
        ('few_shot', {'target': 'wild', 'labels': [1]}, 'labels=1'),
        ('leave_one_distortion_out', {'database': 'wild'}, 'one distortion type'),
        (
            'leave_one_distortion_out',
            {'database': 'lab', 'types': ['fog']},
            r"types=\['fog'\]",
        ),
        (
            'leave_one_distortion_out',
            {'database': 'lab', 'labels': 4, 'references': 10},
            'references=10',
        ),
        (
            'leave_one_distortion_out',
            {'database': 'lab', 'labels': 9, 'references': 2},
            'labels=9.*8 images',
        ),
        ('runtime', {'database': 'lab', 'images': 1}, 'images=1'),
    ],
)
def test_faults(databases, protocol, options, message):
    with pytest.raises(UserError, match=message):
        splits_of(protocol, databases, **options)
