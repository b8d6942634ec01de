"""Preparing published databases: each layout from end to end, and what can be odd."""

import functools
import sys
import types
import unicodedata
from itertools import product

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyiqa.data import build_dataset
from scipy.io import loadmat, savemat

from metaiqa_plugin.cli import main
from metaiqa_plugin.data.databases.names import describe_name
from metaiqa_plugin.data.databases.prepare import as_text, prepare
from metaiqa_plugin.data.databases.readers import read_koniq10k
from metaiqa_plugin.data.databases.registry import DATABASES
from metaiqa_plugin.data.distortions import DISTORTIONS, KADID10K
from metaiqa_plugin.data.splits import split_columns
from metaiqa_plugin.errors import UserError

SPLITS = [f'ratio802_seed123_split_{number:02d}' for number in range(1, 11)]
PUBLISHED = {
    'tid2013': (25 * 24 * 5, [0, 9], False, 'distorted_images'),
    'kadid10k': (81 * 25 * 5, [1, 5], False, 'images'),
    'live': (779, [-3, 112], True, '.'),
    'csiq': (866, [0, 1], True, 'dst_imgs'),
    'livec': (1162, [0, 100], False, 'Images'),
    'koniq10k': (10073, [1, 5], False, '512x384'),
    'koniq10k-1024': (10073, [1, 5], False, '1024x768'),
    'cid2013': (474, [0, 100], False, '.'),
    'spaq': (11125, [0, 100], False, 'TestImage'),
    'bid': (586, [0, 5], False, 'ImageDatabase'),
    'biq2021': (12000, [0, 1], False, 'Images'),
}
"""Images, range and direction of the scores, folder of the images."""


@pytest.fixture(scope='session')
def whole(published, tmp_path_factory):
    """A download by name, and the rows it must give; made once, not to be changed."""

    @functools.cache
    def make(name):
        root = tmp_path_factory.mktemp(name)
        return root, published.makers[name](root)

    return make


@pytest.fixture
def run(capfd):
    """Calls the command; code, standard output and the lines of standard error."""

    def call(*arguments, code=0):
        result = main(['prepare', *map(str, arguments)])
        streams = capfd.readouterr()
        assert result == code, streams
        assert 'Traceback' not in streams.err
        return types.SimpleNamespace(out=streams.out, err=streams.err.splitlines())

    return call


@pytest.fixture
def refused(run):
    """Calls the command with something wrong; the one line it says."""

    def call(*arguments):
        result = run(*arguments, code=2)
        assert not result.out
        assert len(result.err) == 1, result.err
        return result.err[0]

    return call


def read(root, name):
    return pd.read_csv(root / f'meta_info_{name}.csv')


def block(result):
    return yaml.safe_load(result.out.partition('\n')[2])


@pytest.mark.parametrize('name', PUBLISHED)
def test_what_is_written_is_what_the_download_says(name, whole, run):
    root, rows = whole(name)
    expected = pd.DataFrame(rows)
    result = run(name, root, '--overwrite')
    table = read(root, name)
    assert list(table.columns) == [*expected.columns, *SPLITS]
    pd.testing.assert_frame_equal(
        table[expected.columns], expected, check_exact=True, check_dtype=False
    )
    count, mos_range, lower_better, images = PUBLISHED[name]
    assert all((root / images / image).is_file() for image in table.img_name)
    assert block(result) == {
        'meta_info_file': str(root / f'meta_info_{name}.csv'),
        'dataroot_target': str((root / images).resolve()),
        'mos_range': mos_range,
        'lower_better': lower_better,
    }
    note = f'{len(rows)} images; the published database has {count}'
    assert result.err == ([] if len(rows) == count else [f'metaiqa: note: {note}'])
    assert DATABASES[name].name == name
    _reads_as_pyiqas_dataset(name, block(result), rows)
    if 'ref_name' in table:
        _keeps_references_together(table)


def _reads_as_pyiqas_dataset(name, options, rows):
    options |= {'name': name, 'type': 'GeneralNRDataset', 'phase': 'val'}
    options |= {'override_phase': 'test', 'mos_normalize': True, 'split_index': 1}
    dataset = build_dataset(options)
    assert 0 < len(dataset) < len(rows)
    mos = [dataset[index]['mos_label'].item() for index in range(min(20, len(dataset)))]
    assert 0 <= min(mos) <= max(mos) <= 1


def _keeps_references_together(table):
    for column in SPLITS:
        parts = table.groupby('ref_name')[column]
        assert parts.nunique().max() == 1
        tests = (parts.first() == 'test').sum()
        assert tests == max(1, round(0.2 * table.ref_name.nunique()))
    assert len({tuple(table[column]) for column in SPLITS}) > 2


def test_cid2013_trains_on_four_subsets_and_tests_on_two(whole, run):
    root, _ = whole('cid2013')
    run('cid2013', root, '--overwrite')
    table = read(root, 'cid2013')
    tested = set()
    for column in SPLITS:
        parts = table.groupby('subset')[column].agg(set)
        assert sorted(map(len, parts)) == [1] * 6
        tested.add(frozenset(table.subset[table[column] == 'test']))
    assert len(tested) == 10
    assert {len(subsets) for subsets in tested} == {2}


def test_biq2021_keeps_bursts_together_but_not_its_subsets(whole, run, tmp_path):
    root, _ = whole('biq2021')
    run('biq2021', root, '--overwrite')
    table = read(root, 'biq2021')
    for column in SPLITS:
        assert table[~table.group.isna()][column].nunique() == 1
        assert table.groupby('subset')[column].nunique().max() == 2
    other = tmp_path / 'groups.csv'
    other.write_text('name,group\nSS02 (3001).jpg,a\nss03 (9001).jpg,a\n')
    out = tmp_path / 'meta_info_biq2021.csv'
    run('biq2021', root, '--groups', other, '--out', out)
    table = read(tmp_path, 'biq2021').set_index('img_name')
    assert list(table.index[~table.group.isna()]) == [
        'ss02 (3001).jpg',
        'ss03 (9001).jpg',
    ]
    other.write_text('name,group\nmine.jpg,a\n')
    result = run('biq2021', root, '--groups', other, '--out', out, '--overwrite')
    assert f'none of the 1 images of {other}' in result.err[0]


def test_a_photo_of_no_subset_is_refused(tmp_path, published, refused):
    published.makers['biq2021'](tmp_path)
    test = tmp_path / 'Test (Images and MOS).csv'
    test.write_text(test.read_text().replace('ss03', 'ss04', 1))
    assert "Image Name='ss04" in refused('biq2021', tmp_path)


def test_fewer_subsets_are_split_by_a_third():
    columns = split_columns(['IS1', 'IS2', 'IS3'], True)
    assert len(columns) == 3
    assert all(
        sorted(c.values()) == ['test', 'train', 'train'] for c in columns.values()
    )
    assert list(split_columns(['IS1'], True).values()) == [{'IS1': 'train'}]


def test_splits_of_references_are_those_of_the_synthetic_databases():
    columns = split_columns(['b', 'a', 'c', 'e', 'd'])
    tests = [name for c in columns.values() for name in c if c[name] == 'test']
    assert list(columns) == SPLITS
    # what the first release of this package made
    assert ''.join(tests) == 'edeedcaccb'


def test_summary_counts_and_finds_the_range(tmp_path, published, run):
    rows = published.makers['tid2013'](tmp_path)
    mos = [row['mos'] for row in rows]
    line = run('tid2013', tmp_path).out.splitlines()[0]
    assert line == (
        f'{tmp_path}/meta_info_tid2013.csv: 40 images, 5 references, 4 types, '
        f'mos {min(mos)} to {max(mos)}'
    )


def test_out_is_not_replaced_unless_forced(tmp_path, published, run, refused):
    published.makers['bid'](tmp_path)
    out = tmp_path / 'new folder' / 'bid.csv'
    run('bid', tmp_path, '--out', out)
    before = out.read_bytes()
    assert b'\r' not in before
    out.write_text('mine')
    assert 'exists' in (line := refused('bid', tmp_path, '--out', out))
    assert f'out={str(out)!r}' in line and '--overwrite' in line
    assert out.read_text() == 'mine'
    run('bid', tmp_path, '--out', out, '--overwrite')
    assert out.read_bytes() == before
    assert not (tmp_path / 'meta_info_bid.csv').exists()
    assert 'is a folder' in refused('bid', tmp_path, '--out', tmp_path)
    (tmp_path / 'file').touch()
    line = refused('bid', tmp_path, '--out', tmp_path / 'file' / 'x.csv')
    assert 'cannot be written' in line


def test_nothing_of_the_download_is_replaced(tmp_path, published, refused):
    published.makers['kadid10k'](tmp_path)
    before = (tmp_path / 'dmos.csv').read_bytes()
    (tmp_path / 'link.csv').symlink_to(tmp_path / 'dmos.csv')
    for name in ('dmos.csv', 'link.csv'):
        line = refused('kadid10k', tmp_path, '--out', tmp_path / name, '--overwrite')
        assert 'would replace what is read' in line
    image = sorted((tmp_path / 'images').iterdir())[0]
    line = refused('kadid10k', tmp_path, '--out', image, '--overwrite')
    assert 'ends in .csv' in line
    assert (tmp_path / 'dmos.csv').read_bytes() == before


def test_everything_that_is_missing_is_said_at_once(tmp_path, refused):
    line = refused('livec', tmp_path)
    for part in ('AllImages_release.mat', 'AllMOS_release.mat', 'folder Images'):
        assert f'no {part}' in line or f'no Data/{part}' in line
    assert f'root={str(tmp_path)!r}' in line
    assert 'no such folder' in refused('livec', tmp_path / 'nowhere')
    assert 'no koniq10k_scores' in refused('koniq10k', tmp_path)


def test_the_folder_inside_the_folder_is_suggested(tmp_path, published, refused):
    inner = tmp_path / 'ChallengeDB_release'
    published.makers['livec'](inner)
    assert f'{str(inner)!r} has it all' in refused('livec', tmp_path)


def test_unknown_names_and_options_of_others_are_refused(tmp_path, refused):
    line = refused('tid2014', tmp_path)
    assert "database='tid2014'" in line and 'kadid10k' in line
    line = refused('tid2013', tmp_path, '--scores', 'x.csv', '--lower-better')
    assert '--scores, --lower-better' in line


def test_help_names_every_database(capfd, monkeypatch):
    monkeypatch.setenv('COLUMNS', '1000')
    with pytest.raises(SystemExit, match='0'):
        main(['prepare', '--help'])
    words = capfd.readouterr().out.replace(',', ' ').replace(';', ' ').split()
    assert set(words) >= set(DATABASES)


def test_images_that_are_not_on_disk(tmp_path, published, run, refused):
    rows = published.makers['spaq'](tmp_path)
    run('spaq', tmp_path, '--out', tmp_path / 'whole.csv')
    whole = pd.read_csv(tmp_path / 'whole.csv').set_index('img_name')
    for row in rows[1:3]:
        (tmp_path / 'TestImage' / row['img_name']).unlink()
    line = refused('spaq', tmp_path)
    assert '2 of 12 images' in line and "'00002.jpg'" in line and '--skip-miss' in line
    assert not (tmp_path / 'meta_info_spaq.csv').exists()
    result = run('spaq', tmp_path, '--skip-missing', code=1)
    assert (
        "2 images are not on disk and left out, the first is '00002.jpg'"
        in (result.err[-1])
    )
    table = read(tmp_path, 'spaq').set_index('img_name')
    assert list(table.index) == ['00001.jpg', *(f'{i:05d}.jpg' for i in range(4, 13))]
    pd.testing.assert_frame_equal(table, whole.loc[table.index])
    for row in rows:
        (tmp_path / 'TestImage' / row['img_name']).unlink(missing_ok=True)
    line = refused('spaq', tmp_path, '--skip-missing', '--overwrite')
    assert 'is it the right folder' in line


def test_images_without_a_score_are_noted(tmp_path, published, run):
    published.makers['kadid10k'](tmp_path)
    published.image(tmp_path / 'images' / 'mine.png')
    published.image(tmp_path / 'images' / '._mine.png')
    result = run('kadid10k', tmp_path)
    notes = [line for line in result.err if 'no score' in line]
    assert len(notes) == 1
    assert '1 images' in notes[0] and "'mine.png'" in notes[0]


def test_tid2013_without_what_is_optional(tmp_path, published, run, refused):
    published.makers['tid2013'](tmp_path)
    for path in (tmp_path / 'reference_images').iterdir():
        path.unlink()
    (tmp_path / 'mos_std.txt').unlink()
    run('tid2013', tmp_path)
    table = read(tmp_path, 'tid2013')
    assert 'std' not in table
    assert set(table.ref_name) == {f'I{i:02d}.BMP' for i in (1, 2, 3, 4, 25)}
    (tmp_path / 'mos_std.txt').write_text('0.1\n0.2\n')
    line = refused('tid2013', tmp_path, '--overwrite')
    assert 'mos_std.txt has 2 lines, mos_with_names.txt has 40' in line


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('5.5', 'expected a score and an image name'),
        ('5.5 I01_25_1.bmp', "'I01_25_1.bmp' does not name type and level"),
        ('nan I01_01_5.bmp', "MOS='nan' is not a number"),
        ('x I01_01_5.bmp', "MOS='x' is not a number"),
        ('9.5 I01_01_5.bmp', 'score 9.5 of image'),
        ('5.5 I01_01_1.bmp', "'I01_01_1.bmp' has a second score"),
        ('5.5 i01_01_1.bmp', "'i01_01_1.bmp' has a second score"),
    ],
)
def test_odd_lines_are_refused_by_file_and_row(
    line, message, tmp_path, published, refused
):
    published.makers['tid2013'](tmp_path)
    (tmp_path / 'mos_std.txt').unlink()
    path = tmp_path / 'mos_with_names.txt'
    with path.open('a') as file:
        file.write(f'\n{line}\n')
    said = refused('tid2013', tmp_path)
    assert message in said
    assert f'{path}, row 42' in said


def test_another_range_can_be_given(tmp_path, published, run, refused):
    published.makers['bid'](tmp_path)
    published.sheet(
        tmp_path / 'DatabaseGrades.xlsx',
        [['Image Number', 'Average Subjective Grade', 'std'], [1, -0.25, 0.5]],
    )
    assert 'outside the range 0 to 5' in (line := refused('bid', tmp_path))
    assert 'row 2' in line and '--score-range' in line
    result = run('bid', tmp_path, '--score-range', '-0.5', '5')
    assert block(result)['mos_range'] == [-0.5, 5]
    table = read(tmp_path, 'bid')
    assert table['std'].tolist() == [0.5] and table.mos.tolist() == [-0.25]
    for low, high in (('5', '0'), ('nan', '1')):
        line = refused('bid', tmp_path, '--score-range', low, high, '--overwrite')
        assert '--score-range=' in line


def test_bid_images_may_lie_in_the_root(tmp_path, published, run):
    rows = published.makers['bid'](tmp_path)
    for path in list((tmp_path / 'ImageDatabase').iterdir()):
        path.rename(tmp_path / path.name.lower())
    (tmp_path / 'ImageDatabase').rmdir()
    run('bid', tmp_path)
    names = [row['img_name'].lower() for row in rows]
    assert read(tmp_path, 'bid').img_name.tolist() == names


def test_cid2013_images_may_lie_flat(tmp_path, published, run, refused):
    rows = published.makers['cid2013'](tmp_path)
    for row in rows:
        name = row['img_name'].rpartition('/')[2]
        inside = 'IS_I_' not in name
        target = tmp_path / row['subset'] / name if inside else tmp_path / name
        (tmp_path / row['img_name']).rename(target)
    run('cid2013', tmp_path)
    table = read(tmp_path, 'cid2013')
    assert table.img_name[0] == 'IS_I_C01_D01.jpg'
    assert table.img_name[5] == 'IS2/IS_II_C01_D02.jpg'
    assert table.subset.tolist() == [row['subset'] for row in rows]
    published.image(tmp_path / 'copy' / 'IS_II_C01_D02.jpg')
    line = refused('cid2013', tmp_path, '--overwrite')
    assert 'is 2 times' in line and "'copy/IS_II_C01_D02.jpg'" in line


def test_cid2013_needs_its_names_sheet_and_one_file(tmp_path, published, refused):
    published.makers['cid2013'](tmp_path)
    path = tmp_path / 'CID2013 data - version 12112014.xlsx'
    header = ['Source_ID', 'Realigned MOS']
    published.sheet(path, [header, ['IS_VII_C01_D01', 50]], 'CID2013 MOS')
    assert "Source_ID='IS_VII_C01_D01'" in refused('cid2013', tmp_path)
    published.sheet(path, [['Source_ID', 'MOS']], 'CID2013 MOS')
    assert "columns ['Source_ID', 'Realigned MOS']" in refused('cid2013', tmp_path)
    published.sheet(path, [header], 'Other')
    assert "no sheet 'CID2013 MOS'" in refused('cid2013', tmp_path)
    (tmp_path / 'CID2013 copy.xlsx').write_bytes(path.read_bytes())
    assert 'several CID2013*.xlsx' in refused('cid2013', tmp_path)


def test_csiq_flat_images_and_text_labels(tmp_path, published, run, refused):
    rows = published.makers['csiq'](tmp_path)
    images = tmp_path / 'dst_imgs'
    names = [row['img_name'].rpartition('/')[2] for row in rows]
    for row, name in zip(rows, names, strict=True):
        (images / row['img_name']).rename(images / name)
    (tmp_path / 'csiq.DMOS.xlsx').unlink()
    lines = [
        f'{name.removesuffix(".png") if index % 2 else name}\t{row["mos"]:.6f}'
        for index, (name, row) in enumerate(zip(names, rows, strict=True))
    ]
    (tmp_path / 'csiq_label.txt').write_text('\ufeff' + '\n'.join(lines))
    run('csiq', tmp_path)
    table = read(tmp_path, 'csiq')
    assert table.img_name.tolist() == names
    assert table.mos.tolist() == [round(row['mos'], 6) for row in rows]
    for column in ('ref_name', 'distortion', 'level'):
        assert table[column].tolist() == [row[column] for row in rows]
    assert 'std' not in table


def test_csiq_sheet_with_an_unknown_type_is_refused(tmp_path, published, refused):
    published.makers['csiq'](tmp_path)
    header = ['image', 'dst_type', 'dst_lev', 'dmos_std', 'dmos']
    rows = [header, ['boston', 'fog', 1, 0.1, 0.2]]
    published.sheet(tmp_path / 'csiq.DMOS.xlsx', rows, 'all_by_image')
    line = refused('csiq', tmp_path)
    assert "dst_type='fog'" in line and 'row 2' in line


def test_live_before_realignment_has_a_range_of_its_own(tmp_path, published, run):
    published.makers['live'](tmp_path)
    (tmp_path / 'dmos_realigned.mat').unlink()
    result = run('live', tmp_path)
    assert block(result)['mos_range'] == [1, 100]
    assert 'before realignment' in ''.join(result.err)
    table = read(tmp_path, 'live')
    dmos = loadmat(tmp_path / 'dmos.mat', squeeze_me=True)
    assert table.mos.tolist() == dmos['dmos'][dmos['orgs'] == 0].tolist()
    assert 'std' not in table


def test_live_flags_may_be_in_the_other_file(tmp_path, published, run, refused):
    rows = published.makers['live'](tmp_path)
    path = tmp_path / 'dmos_realigned.mat'
    content = loadmat(path)
    savemat(path, {name: content[name] for name in ('dmos_new', 'dmos_std')})
    run('live', tmp_path)
    assert len(read(tmp_path, 'live')) == len(rows)
    (tmp_path / 'dmos.mat').unlink()
    assert "no variable ['orgs']" in refused('live', tmp_path, '--overwrite')
    savemat(path, {'dmos_new': np.ones(3), 'dmos_std': np.ones(3), 'orgs': np.ones(3)})
    assert 'has 3 values' in refused('live', tmp_path, '--overwrite')


@pytest.mark.parametrize(
    'gone', ['koniq10k_scores_and_distributions.csv', 'koniq10k_distributions_sets.csv']
)
def test_either_file_of_koniq_will_do(gone, tmp_path, published, run):
    rows = published.makers['koniq10k'](tmp_path)
    (tmp_path / gone).unlink()
    run('koniq10k', tmp_path)
    table = read(tmp_path, 'koniq10k')
    assert table.mos.tolist() == [row['mos'] for row in rows]
    assert table['std'].tolist() == [row['std'] for row in rows]
    if 'scores' in gone:
        parts = [row['official_split'] for row in rows]
        assert table.official_split.tolist() == parts
    else:
        assert 'official_split' not in table


def test_koniq_files_that_contradict_themselves_are_refused(
    tmp_path, published, refused, run
):
    published.makers['koniq10k'](tmp_path)
    path = tmp_path / 'koniq10k_scores_and_distributions.csv'
    whole = path.read_text()
    lines = whole.splitlines()
    cells = lines[3].split(',')
    cells[7] = '4.99'
    path.write_text('\n'.join([*lines[:3], ','.join(cells), *lines[4:]]))
    line = refused('koniq10k', tmp_path)
    assert 'MOS=4.99' in line and f'{path}, row 4' in line
    path.write_text(whole)
    sets = tmp_path / 'koniq10k_distributions_sets.csv'
    parts = sets.read_text()
    sets.write_text(parts.replace('validation', 'valid'))
    assert "set='valid'" in refused('koniq10k', tmp_path)
    sets.write_text('\n'.join(parts.splitlines()[:4]))
    result = run('koniq10k', tmp_path)
    assert '3 images have no part' in ''.join(result.err)


def test_koniq_shares_of_votes_give_the_mean_of_the_counts(tmp_path, published):
    votes = np.random.default_rng(0).integers(0, 61, (200, 5))
    votes[:5] = np.eye(5, dtype=int)
    shares = [[f'{count / sum(counts):.12g}' for count in counts] for counts in votes]
    rows = [
        [f'{place}.jpg', *shares[place], sum(counts), 60, 0.5, 'test']
        for place, counts in enumerate(votes.tolist())
    ]
    header = ['image_name', 'c1', 'c2', 'c3', 'c4', 'c5', 'c_total', 'MOS', 'SD', 'set']
    published.table(tmp_path / 'koniq10k_distributions_sets.csv', header, rows)
    for counts, row in zip(votes.tolist(), read_koniq10k(tmp_path).rows, strict=True):
        mean = sum(grade * count for grade, count in enumerate(counts, 1)) / sum(counts)
        assert row.mos == mean


def test_livec_files_must_belong_together(tmp_path, published, refused):
    published.makers['livec'](tmp_path)
    path = tmp_path / 'Data' / 'AllMOS_release.mat'
    savemat(path, {'AllMOS_release': np.ones((1, 3))})
    assert '19 names, 3 MOS' in refused('livec', tmp_path)
    path.write_bytes(b'MATLAB?')
    assert 'not a readable MATLAB file' in refused('livec', tmp_path)


def test_damaged_workbooks_and_a_missing_reader(
    tmp_path, published, refused, monkeypatch
):
    published.makers['bid'](tmp_path)
    path = tmp_path / 'DatabaseGrades.xlsx'
    published.sheet(path, [['Image Number', 'Average Subjective Grade'], [1, None]])
    line = refused('bid', tmp_path)
    assert f'{path}, row 2: Average Subjective Grade=None' in line
    path.write_bytes(b'PK not a workbook')
    assert 'not a readable .xlsx' in refused('bid', tmp_path)
    monkeypatch.setitem(sys.modules, 'openpyxl', None)
    assert 'openpyxl is not installed: pip install' in refused('bid', tmp_path)


@pytest.fixture
def own(tmp_path, published, monkeypatch):
    """Images and a csv of one's own; writes other scores on request."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'my images'
    names = ['b c.png', 'é.png', 'sub/d.jpg', 'a.png']
    for name in names:
        published.image(folder / name)
    scores = tmp_path / 'scores.csv'

    def write(text, encoding='utf-8'):
        scores.write_bytes(text.encode(encoding))
        return ['csv', folder, '--scores', scores]

    return types.SimpleNamespace(folder=folder, scores=scores, write=write, names=names)


def test_a_csv_of_ones_own(own, run):
    decomposed = unicodedata.normalize('NFD', 'é.png')
    command = own.write(
        f'Image,MOS,scene\n"b c.png",1,x\n{decomposed},2.5,x\nsub\\d.jpg,3,y\n'
        'a.png,1e-1,z\n',
        'utf-8-sig',
    )
    options = ['--score-range', 0, 5, '--group-column', 'scene', '--lower-better']
    result = run(*command, *options)
    assert not result.err
    path = own.scores.parent / 'meta_info_my images.csv'
    assert block(result) == {
        'meta_info_file': str(path),
        'dataroot_target': str(own.folder),
        'mos_range': [0, 5],
        'lower_better': True,
    }
    table = pd.read_csv(path, dtype=str)
    assert list(table.columns) == ['img_name', 'mos', 'group', *SPLITS]
    assert table.img_name.tolist() == own.names
    assert table.mos.tolist() == ['1', '2.5', '3', '0.1']
    for column in SPLITS:
        assert table[column][0] == table[column][1]
    assert '4 images, 3 groups' in result.out


def test_columns_of_a_csv_can_be_named(own, run):
    command = own.write('photo,x,score,source\na.png,9,0.5,r1\nb c.png,9,0.25,r2\n')
    names = ['--image-column', 'photo', '--reference-column', 'source']
    result = run(*command, *names)
    assert "the first is 'é.png'" in result.err[0]
    table = pd.read_csv('meta_info_my images.csv')
    assert table.mos.tolist() == [0.5, 0.25]
    assert table.ref_name.tolist() == ['r1', 'r2']
    for column in SPLITS:
        assert set(table[column]) == {'train', 'test'}
    run(*command, *names, '--score-column', 'x', '--score-range', 0, 10, '--overwrite')
    assert pd.read_csv('meta_info_my images.csv').mos.tolist() == [9, 9]


def test_references_and_groups_of_a_csv_are_found_by_name(own, run):
    rows = ['a.png,1,p,1', 'b c.png,0,p,1', 'é.png,1,q,2', 'sub/d.jpg,0,q,2']
    run(*own.write('\n'.join(['image,mos,ref_name,group', *rows])))
    table = pd.read_csv('meta_info_my images.csv')
    for column in SPLITS:
        assert (table.groupby('ref_name')[column].nunique() == 1).all()


@pytest.mark.parametrize(
    ('text', 'options', 'message'),
    [
        ('name;mos\na.png;2,5\n', [], 'row 2: score 2.5 of'),
        ('image,x\na.png,1\n', [], '--image-column and --score-column'),
        ('image,mos\na.png,1\n', ['--group-column', 'g'], "no column 'g'"),
        ('image,mos\na.png,1\n', ['--out', 'SCORES'], 'would replace what is read'),
        ('image,mos\na.png,inf\n', [], "row 2: mos='inf' is not a number"),
        ('image,mos\n,1\n', [], 'row 2: no image name'),
        ('image,mos\na.png,2\n', [], 'outside the range 0 to 1'),
        ('image,mos\n\na.png,1\nA.PNG,1\n', [], 'row 4: image'),
        ('image,mos\n', [], 'has no row'),
        ('image,mos\na.png,1\n./a.png,1\n', [], 'row 3: image'),
        ('', [], 'is empty'),
        ('a.png,1\nb c.png,0\n', [], 'put a line of names such as'),
        ('image,mos\n../scores.csv,1\n', [], '1 of 1 images are not below'),
        (
            'image,mos,r,g\na.png,1,p,1\nb c.png,1,p,2\n',
            ['--reference-column', 'r', '--group-column', 'g'],
            "reference 'p' is in group '2'",
        ),
    ],
)
def test_odd_csvs_are_refused(own, refused, text, options, message):
    command = own.write(text)
    options = [own.scores if item == 'SCORES' else item for item in options]
    options += ['--overwrite'] if '--out' in options else []
    assert message in refused(*command, *options)


def test_a_csv_of_groups_is_not_replaced(own, refused, tmp_path):
    groups = tmp_path / 'groups.csv'
    groups.write_text('image,group\na.png,g\n')
    command = own.write('image,mos\na.png,1\n')
    line = refused(*command, '--groups', groups, '--out', groups, '--overwrite')
    assert 'would replace what is read' in line
    assert groups.read_text().startswith('image')


def test_odd_files_of_scores_are_refused(own, refused, tmp_path):
    assert 'not a readable csv in UTF-8' in refused(
        *own.write('image,mos\né.png,1\n', 'latin-1')
    )
    line = refused('csv', own.folder, '--scores', tmp_path / 'no.csv')
    assert 'scores=' in line and 'no such file' in line
    assert '--scores' in refused('csv', own.folder)
    line = refused('csv', tmp_path / 'no', '--scores', own.scores)
    assert 'root=' in line and 'no such folder' in line


def test_bad_ranges_of_the_function_are_named(tmp_path, published):
    published.makers['bid'](tmp_path)
    with pytest.raises(UserError, match=r'score_range=\[1\]'):
        prepare('bid', tmp_path, score_range=[1])


# names

TID_ORDER = (
    'AGN ANC SCN MN HFN IN QN GB DEN JPEG JP2K JGTE J2TE NEPN Block MS CTC CCS MGN CN '
    'LCNI ICQD CHA SSR'
).split()
KADID_ORDER = sorted(KADID10K, key=lambda name: DISTORTIONS[name].number)
CSIQ_TYPES = 'AWGN BLUR contrast fnoise JPEG jpeg2000'.split()


def names_of_databases():
    """Every name, or some of them, and what it tells."""
    levels = range(1, 6)
    for r, (t, kind), level in product(range(1, 26), enumerate(TID_ORDER, 1), levels):
        letter, suffix = 'Ii'[r % 2], ('.bmp', '.BMP', '.png', '')[t % 4]
        name = f'{letter}{r:02d}_{t:02d}_{level}{suffix}'
        yield name, (f'I{r:02d}.BMP', kind, str(level))
    for r, (t, kind), level in product(range(1, 82), enumerate(KADID_ORDER, 1), levels):
        yield f'I{r:02d}_{t:02d}_{level:02d}.png', (f'I{r:02d}.png', kind, str(level))
    for photo, kind, level in product(('1600', 'lady_liberty'), CSIQ_TYPES, levels):
        yield f'{photo}.{kind}.{level}.png', (f'{photo}.png', kind, str(level))
    for folder, place in product('jp2k jpeg wn gblur fastfading'.split(), (1, 9, 174)):
        yield f'{folder}/img{place}.bmp', ('', folder, '')
        yield f'{folder}/img{place}', ('', folder, '')


@pytest.mark.parametrize('folder', ['', 'some/where/', 'a.b\\'])
def test_a_name_tells_reference_type_and_level(folder):
    for name, told in names_of_databases():
        assert describe_name(folder + name) == told, name


@pytest.mark.parametrize(
    'name',
    [
        'i26_01_1.bmp',
        'i00_01_1.bmp',
        'i01_25_1.bmp',
        'i01_00_1.bmp',
        'i01_01_6.bmp',
        'I82_01_01.png',
        'I01_26_01.png',
        'I01_00_01.png',
        'I01_01_06.png',
        'I01_01_10.png',
        'I01.png',
        'I٠١_01_01.png',
        'boston.blurry.3.png',
        'boston.BLUR.0.png',
        '.BLUR.3.png',
        'img1.bmp',
        'jp2k/img228.bmp',
        'jp2k/img0.bmp',
        'refimgs/img1.bmp',
        'jp2k/img1.bmp/x.png',
        '',
        'photo.png',
    ],
)
def test_a_name_outside_the_databases_is_none(name):
    assert describe_name(name) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_scores_are_written_exactly(value):
    assert float(as_text(value)) == value
    assert not as_text(value).endswith('.0')
