"""Labelled rows: what the columns mean, several databases, and rows that lie."""

import pickle
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import (
    LabelledRow,
    LabelledRows,
    join_databases,
    read_places,
    written_places,
)
from metaiqa_plugin.errors import UserError

SPLIT = 'ratio802_seed123_split_01'


def write(tmp_path, text, name='meta.csv', encoding='utf-8'):
    path = tmp_path / name
    path.write_text(text, encoding=encoding)
    return str(path)


def read(tmp_path, text, phase='train', **options):
    options.setdefault('mos_range', (0, 100))
    return read_rows(DatabaseOptions(write(tmp_path, text), 'x', **options), phase)


texts = st.text(st.characters(exclude_categories=('Cs',)), max_size=8)


@given(
    st.lists(
        st.builds(
            LabelledRow,
            texts,
            st.floats(0, 1, width=32),
            texts,
            texts,
            st.integers(0, 2**31 - 1),
        ),
        max_size=20,
    )
)
def test_rows_come_back_as_they_went_in(rows):
    table = LabelledRows(rows)
    assert list(table) == rows
    assert table.tasks == sorted({row.task for row in rows})


def test_labels_belong_to_their_images(database):
    source = str(database / 'meta_info_small.csv')
    rows = read_rows(DatabaseOptions(source, str(database / 'images'), (1, 5)))
    table = pd.read_csv(source).set_index('img_name')
    assert len(rows) == len(table)
    for index, row in enumerate(rows):
        truth = table.loc[row.image]
        assert row.mos == pytest.approx((truth.pseudo_mos - 1) / 4)
        assert (row.task, row.reference) == (truth.distortion, truth.ref_name)
        assert rows.path(index) == database / 'images' / row.image


def test_pyiqas_own_tid2013_file_is_understood(tmp_path):
    rows = read(
        tmp_path,
        'ref_name,dist_name,mos,std\n'
        'I01.BMP,I01_01_1.bmp,5.5,0.1\nI02.BMP,i02_24_5.bmp,0.9,0.1\n',
        mos_range=(0, 9),
    )
    assert [row.image for row in rows] == ['I01_01_1.bmp', 'i02_24_5.bmp']
    assert rows.mos.tolist() == pytest.approx([5.5 / 9, 0.1])
    assert [row.task for row in rows] == ['AGN', 'SSR']
    assert [row.reference for row in rows] == ['I01.BMP', 'I02.BMP']


def test_pyiqas_own_csiq_file_is_understood_and_turned_round(tmp_path):
    rows = read(
        tmp_path,
        'ref_name,dist_name,dmos\n1600.png,1600.AWGN.1.png,0.25\n'
        '1600.png,1600.jpeg2000.5.png,1\n',
        mos_range=(0, 1),
        lower_better=True,
    )
    assert rows.mos.tolist() == pytest.approx([0.75, 0])
    assert len(rows.tasks) == 2


def test_a_database_without_types_is_one_task_without_references(tmp_path):
    rows = read(tmp_path, 'img_name,mos,std\na.jpg,10,1\nb.jpg,20,1\n')
    assert rows.tasks == ['all']
    assert rows.reference_of.tolist() == [-1, -1]


def test_a_declared_column_gives_the_tasks_and_blank_ones_are_together(tmp_path):
    text = 'img_name,mos,camera\na.jpg,10,x\nb.jpg,20,\nc.jpg,5,y\n'
    rows = read(tmp_path, text, task_column='camera')
    assert [row.task for row in rows] == ['x', 'all', 'y']


def test_columns_can_be_named(tmp_path):
    text = 'id,file,taste,scene\n1,a.jpg,10,s\n2,b.jpg,20,s\n'
    rows = read(
        tmp_path,
        text,
        image_column='file',
        mos_column='taste',
        reference_column='scene',
    )
    assert [(row.image, row.reference) for row in rows] == [
        ('a.jpg', 's'),
        ('b.jpg', 's'),
    ]


def test_names_with_spaces_letters_and_a_byte_order_mark(tmp_path):
    source = write(
        tmp_path, 'mos,img_name\n50,"my photo, ä 图.jpg"\n', encoding='utf-8-sig'
    )
    rows = read_rows(DatabaseOptions(source, 'x', (0, 100)))
    assert rows[0].image == 'my photo, ä 图.jpg'


def test_several_databases_lie_side_by_side(tmp_path):
    one = read(tmp_path, 'img_name,mos,distortion,ref_name\na.bmp,50,blur,r\n')
    two = read(
        tmp_path,
        'img_name,mos,distortion,ref_name\na.bmp,4,blur,r\nb.bmp,1,awgn,r\n'
        'c.bmp,2,awgn,\n',
        mos_range=(1, 5),
    )
    joined = join_databases([('tid', one), ('kadid', two)])
    assert joined.tasks == ['kadid/awgn', 'kadid/blur', 'tid/blur']
    assert [row.task for row in joined] == [
        'tid/blur',
        'kadid/blur',
        'kadid/awgn',
        'kadid/awgn',
    ]
    assert joined.mos.tolist() == pytest.approx([0.5, 0.75, 0, 0.25])
    assert [row.reference for row in joined] == ['r', 'r', 'r', '']
    assert joined.reference_of.tolist() == [0, 1, 1, -1]
    assert joined[1].image == 'a.bmp'
    with pytest.raises(UserError, match='not all different'):
        join_databases([('tid', one), ('tid', two)])


def test_parts_of_a_split(tmp_path):
    text = f'img_name,mos,{SPLIT}\na,1,train\nb,2,test\nc,3,train\n'
    assert [r.image for r in read(tmp_path, text, split_index=1)] == ['a', 'c']
    assert [r.image for r in read(tmp_path, text, 'test', split_index=SPLIT)] == ['b']
    assert len(read(tmp_path, text)) == 3


GOOD = 'img_name,mos,distortion,ref_name\na,10,blur,r\n'


@pytest.mark.parametrize(
    ('text', 'options', 'message'),
    [
        (GOOD + 'b,,blur,r\n', {}, "row 3: mos='' is not a number"),
        (GOOD + 'b,nan,blur,r\n', {}, "row 3: mos='nan' is no"),
        (GOOD + 'b,inf,blur,r\n', {}, "mos='inf'"),
        (GOOD + 'b,good,blur,r\n', {}, "mos='good'"),
        (
            GOOD + 'b,101,blur,r\n',
            {},
            "row 3: score 101 of image 'b' is outside the range 0 to 100",
        ),
        (GOOD, {'mos_range': (0, 1)}, 'outside the range 0 to 1'),
        (GOOD + 'a,20,blur,r\n', {}, "row 3: image 'a' has a row already, row 2"),
        (GOOD + './a,20,blur,r\n', {}, "row 3: image 'a' has a row already, row 2"),
        (GOOD + 'b,20,blur\n', {}, 'row 3: 3 cells under 4 column names'),
        (GOOD, {'mos_range': (5, 1)}, 'low < high'),
        (GOOD, {'mos_range': 7}, 'mos_range=7'),
        (GOOD, {'image_column': 'file'}, r"no column 'file' \(image_column\)"),
        (GOOD, {'task_column': 'camera'}, r"no column 'camera' \(task_column\)"),
        (GOOD, {'split_index': 3}, 'split_index=3'),
        (GOOD, {'keep_distortions': ['jpg']}, r"keep_distortions=\['jpg'\]"),
        (GOOD, {'exclude_distortions': ['blur']}, 'no row is left'),
        (GOOD, {'lower_better': 1}, 'lower_better=1'),
        ('img_name,mos\n', {}, 'has no row'),
        ('img_name\na\n', {}, r"columns \['img_name'\] are .*image_column and mos_co"),
        ('img_name,x\na,1\n', {}, r"columns \['img_name', 'x'\] are image names"),
        ('mos,x\n1,a\n', {}, r"columns \['mos', 'x'\] are image names"),
        ('a\nx\n', {}, r"columns \['a'\] are image names and MOS cannot be told"),
        ('a,b,c\nx,y,1\n', {}, r"columns \['a', 'b', 'c'\] are image names"),
        ('a.jpg,0.5\nb.jpg,1\n', {}, r"'a\.jpg'.*put a line of names such as"),
        ('', {}, 'is empty'),
        ('i,m\nI01_01_1.bmp,1\nother.bmp,2\n', {}, r"row 3: .*'other\.bmp'"),
    ],
)
def test_rows_that_lie_are_named(tmp_path, text, options, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text, **options)


@pytest.mark.parametrize(
    ('text', 'mos'),
    [('photo,votes\na.jpg,50\n', 'votes'), ('photo;x;mos\na.jpg;y;50\n', 'mos')],
)
def test_the_first_two_columns_are_taken_as_pyiqa_does_and_that_is_said(
    tmp_path, capsys, text, mos
):
    for _ in range(2):
        assert [row[:2] for row in read(tmp_path, text)] == [('a.jpg', 0.5)]
    told = f"images from column 'photo' and MOS from '{mos}'\n"
    assert capsys.readouterr().err.count(told) == 1


@pytest.mark.parametrize('separator', ',;\t')
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_ways_to_write_a_csv(tmp_path, separator, encoding):
    point = '.' if separator == ',' else ','
    lines = ['image,mos', f'ä.jpg,12{point}5', 'b.jpg,50']
    text = '\r\n'.join([lines[0].replace(',', separator)])
    for line in lines[1:]:
        text += '\r\n' + line.replace(',', separator, 1)
    source = write(tmp_path, f'{text}\r\n', encoding=encoding)
    rows = read_rows(DatabaseOptions(source, 'x', (0, 100)))
    assert list(rows.images) == ['ä.jpg', 'b.jpg']
    assert rows.mos.tolist() == [0.125, 0.5]


def test_names_are_found_as_they_are_on_disk(tmp_path):
    folder = tmp_path / 'photos'
    (folder / 'sub').mkdir(parents=True)
    on_disk = [
        'a.jpg',
        'B.JPG',
        'sub/c.jpg',
        'd.jpg',
        unicodedata.normalize('NFD', 'ä'),
    ]
    on_disk[-1] += '.jpg'
    for name in on_disk:
        (folder / name).touch()
    told = ['./a.jpg', 'b.jpg', 'sub\\c.jpg', f'{folder}/sub/../d.jpg', 'ä.jpg']
    text = 'image,mos\n' + ''.join(f'{name},1\n' for name in told)
    rows = read_rows(DatabaseOptions(write(tmp_path, text), folder))
    rows.require_files('x')
    assert list(rows.images) == on_disk
    rows = read_rows(DatabaseOptions(write(tmp_path, f'{text}A.jpg,1\n'), folder))
    with pytest.raises(UserError, match=r"row 7: image 'a\.jpg' .* row 2"):
        rows.require_files('x')
    rows = read_rows(DatabaseOptions(write(tmp_path, f'{text}e.jpg,1\n'), folder))
    with pytest.raises(UserError, match=r"1 of 6 .* the first is 'e\.jpg' .*row 7"):
        rows.require_files('x')


def test_a_reference_in_both_parts_is_refused_by_name(tmp_path):
    text = f'img_name,mos,ref_name,{SPLIT}\na,1,r,train\nb,2,r,test\nc,3,s,test\n'
    with pytest.raises(UserError, match=r"reference 'r' .* another part \(row 3\)"):
        read(tmp_path, text, split_index=1)
    assert len(read(tmp_path, text)) == 3


def test_names_need_not_be_alike_where_nobody_wants_their_types(tmp_path):
    source = write(tmp_path, 'image,score\nI01_01_1.bmp,1\nmine.png,0\n')
    rows = read_rows(DatabaseOptions(source, 'x'), described=False)
    assert [row.task for row in rows] == ['all', 'all']


def test_missing_files_and_binary_ones_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv'.*no such file"):
        read_rows(DatabaseOptions('nowhere.csv', 'x'))
    (tmp_path / 'binary.csv').write_bytes(bytes(range(256)) * 4)


@given(st.lists(st.integers(0, 30), min_size=1))
def test_places_come_back_as_they_were(places):
    assert read_places(written_places(places), 31).tolist() == places


def test_chosen_rows_are_read_as_a_csv_of_them_alone(tmp_path):
    lines = [f'{n}.png,{n},{"xyz"[n % 3]},r{n % 4}' for n in range(9)]
    header = 'img_name,mos,distortion,ref_name'
    chosen = [7, 2, 3, 4, 1]
    assert written_places(chosen) == '7,2-4,1'
    found = read(
        tmp_path, '\n'.join([header, *lines]), mos_range=(0, 9), rows='7,2-4,1'
    )
    alone = read(
        tmp_path,
        '\n'.join([header, *(lines[place] for place in chosen)]),
        mos_range=(0, 9),
    )
    assert list(found.images) == list(alone.images)
    for name in ('mos', 'task_of', 'reference_of'):
        assert np.array_equal(getattr(found, name), getattr(alone, name))
    assert (found.tasks, list(found.references)) == (
        alone.tasks,
        list(alone.references),
    )
    assert found.lines.tolist() == [place + 2 for place in chosen]


@pytest.mark.parametrize('rows', ['', '1-2-3', 'a', '-1', '3', 2])
def test_rows_that_there_are_not(tmp_path, rows):
    with pytest.raises(UserError, match='rows='):
        read(tmp_path, 'a,b\nx,0\ny,1\nz,0\n', rows=rows)
    with pytest.raises(UserError, match=r'binary\.csv'):
        read_rows(DatabaseOptions(str(tmp_path / 'binary.csv'), 'x'))
    with pytest.raises(UserError, match='meta_info_file=None'):
        DatabaseOptions(None, 'x')


def test_rows_are_compact():
    count = 20_000
    rows = LabelledRows(
        LabelledRow(f'{index:08d}.png', 0.5, f't{index % 9}', f'r{index // 50}')
        for index in range(count)
    )
    assert len(pickle.dumps(rows)) < 50 * count
    assert np.bincount(rows.task_of).sum() == count
