"""Which images a command is given, in which order, and what it says otherwise."""

import csv
import io
import os

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.sources import Sources

NAMES = st.text(st.characters(exclude_characters='\0/', codec='utf-8'), min_size=1)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Files in the current folder; only those of images count."""
    for name in ('b/c.PNG', 'b/a.jpg', 'b-x.webp', 'z.jpg', 'notes.txt', '.hid/d.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(*given, **options):
    sources = Sources(given, **options)
    paths = list(sources)
    assert sources.count() == len(paths)
    return paths


def test_a_folder_with_its_sub_folders_sorted_as_names(tree):
    names = ['./b-x.webp', './b/a.jpg', './b/c.PNG', './z.jpg']
    assert listed('.') == names == sorted(names)


def test_files_and_folders_in_the_order_given_each_once(tree):
    assert listed('z.jpg', 'b', 'z.jpg', 'nowhere.jpg', 'b/a.jpg') == [
        'z.jpg',
        'b/a.jpg',
        'b/c.PNG',
        'nowhere.jpg',
    ]


def test_a_file_that_is_given_and_is_not_there_is_named(tree):
    for check in (Sources.check, Sources.files):
        with pytest.raises(UserError, match=r"'nowhere\.jpg': no such file"):
            check(Sources(['z.jpg', 'nowhere.jpg']))
    assert Sources(['z.jpg', './z.jpg']).files() == ['z.jpg']


def test_spellings_of_one_file(tree):
    (tree / 'link').symlink_to('b')
    assert listed('b', './b', str(tree), 'link/a.jpg') == [
        *('b/a.jpg', 'b/c.PNG'),
        *(f'{tree}/b-x.webp', f'{tree}/z.jpg'),
    ]


def test_what_is_no_image_is_counted(tree):
    (tree / 'b/photo.CR2').touch()
    sources = Sources(['.'])
    assert [*sources] == [*sources]
    assert sources.left_out == [('.txt', 1), ('.cr2', 1)]


def test_a_pattern(tree):
    assert listed('**/*.jpg') == ['b/a.jpg', 'z.jpg']
    (tree / 'odd[1].jpg').touch()
    assert listed('odd[1].jpg') == ['odd[1].jpg']


def test_a_list_on_standard_input(tree):
    stdin = io.BytesIO(b'z.jpg\n\nb/a b.jpg\r\n\xff.jpg\nlast.jpg')
    sources = Sources(['-'], root='photos', stdin=stdin)
    assert sources.count() is None
    assert [os.fsencode(path) for path in sources] == [
        b'photos/z.jpg',
        b'photos/b/a b.jpg',
        b'photos/\xff.jpg',
        b'photos/last.jpg',
    ]


@given(names=st.lists(NAMES, min_size=1, unique=True))
def test_any_name_survives_a_csv(tmp_path_factory, names):
    table = tmp_path_factory.getbasetemp() / 'list.csv'
    with table.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([['id', 'image'], *enumerate(names)])
    expected = [f'./{name}' if name[0] in '=+-@\t\r' else name for name in names]
    assert listed(str(table)) == expected


def test_a_parquet_file_and_a_column_by_name(tree):
    columns = {'image': ['x.jpg', 'y.jpg'], 'other': ['z.jpg', None]}
    pyarrow.parquet.write_table(pyarrow.table(columns), 'list.parquet')
    assert listed('list.parquet') == ['x.jpg', 'y.jpg']
    assert listed('list.parquet', column='other', root='/p') == ['/p/z.jpg']


def test_a_spreadsheets_mark_at_the_start_is_no_part_of_the_name(tree):
    (tree / 'list.csv').write_text('path\nz.jpg\n', encoding='utf-8-sig')
    assert listed('list.csv') == ['z.jpg']


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
@pytest.mark.parametrize('mos', ['votes', 'mos'])
def test_the_first_column_is_taken_as_pyiqa_does(tree, suffix, mos, capsys):
    frame = pd.DataFrame({'photo': ['z.jpg', 'b/a.jpg'], mos: [1.5, 2]})
    getattr(frame, f'to_{suffix}')(f'list.{suffix}', index=False)
    assert listed(f'list.{suffix}') == ['z.jpg', 'b/a.jpg']
    told = f"images from column 'photo' and MOS from '{mos}'\n"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ([], 'no images are given'),
        (['empty'], "images='empty': no image in this folder"),
        (['*.tif'], "'.*tif': no file matches"),
        (['nowhere.csv'], 'no such table'),
        (['header.csv'], 'the table has no rows'),
        (['other.csv'], r"columns \['a', 'b'\].*--column"),
        (['list.csv'], r"'z\.jpg'.*put a line of names such as"),
        (['blank.csv'], 'is empty'),
        (['broken.parquet'], "'broken.parquet' cannot be read"),
    ],
)
def test_what_has_no_image_is_named(tree, given, message):
    (tree / 'empty').mkdir()
    (tree / 'header.csv').write_text('path\n')
    (tree / 'other.csv').write_text('a,b\n1,x\n')
    (tree / 'list.csv').write_text('z.jpg\nb/a.jpg\n')
    (tree / 'blank.csv').touch()
    (tree / 'broken.parquet').write_text('PAR')
    with pytest.raises(UserError, match=message):
        list(Sources(given))
    with pytest.raises(UserError, match=message):
        Sources(['z.jpg', *given] if given else given).check()
