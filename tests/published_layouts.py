"""Small databases in the layout in which each published one is downloaded.

A maker writes files below a folder and returns what the csv must say: the images in
the order of the score file, each with the columns of its row but the splits.
"""

import csv
import io
import itertools
import types
from zlib import crc32

import numpy as np
import openpyxl
import pytest
from PIL import Image
from scipy.io import savemat

TID_TYPES = {1: 'AGN', 8: 'GB', 15: 'Block', 24: 'SSR'}
KADID_TYPES = {1: 'gaussian_blur', 10: 'jpeg', 25: 'contrast_change'}
CSIQ_TYPES = {
    'noise': ('awgn', 'AWGN'),
    'blur': ('blur', 'BLUR'),
    'contrast': ('contrast', 'contrast'),
    'fnoise': ('fnoise', 'fnoise'),
    'jpeg': ('jpeg', 'JPEG'),
    'jpeg 2000': ('jpeg2000', 'jpeg2000'),
}
LIVE_SIZES = {'jp2k': 227, 'jpeg': 233, 'wn': 174, 'gblur': 174, 'fastfading': 174}
ROMAN = ('I', 'II', 'III', 'IV', 'V', 'VI')


@pytest.fixture(scope='session')
def published():
    """The makers by name of the database, and the tools they are made with."""
    return types.SimpleNamespace(
        makers={
            'tid2013': make_tid2013,
            'kadid10k': make_kadid10k,
            'live': make_live,
            'csiq': make_csiq,
            'livec': make_livec,
            'koniq10k': make_koniq10k,
            'koniq10k-1024': make_koniq10k_1024,
            'cid2013': make_cid2013,
            'spaq': make_spaq,
            'bid': make_bid,
            'biq2021': make_biq2021,
        },
        image=write_image,
        table=write_csv,
        sheet=write_sheet,
        votes=koniq_votes,
    )


def write_image(path):
    """Noise of 8x8 pixels, of its own for each name, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {'.jpg': 'JPEG'}.get(path.suffix.lower(), path.suffix[1:].upper())
    buffer = io.BytesIO()
    generator = np.random.default_rng(crc32(path.name.encode()))
    Image.fromarray(generator.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(
        buffer, kind
    )
    path.write_bytes(buffer.getvalue())


def write_csv(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([header, *rows])


def write_sheet(path, rows, name='Sheet1'):
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    book.active.title = name
    for row in rows:
        book.active.append(row)
    book.save(path)


def row_of(*values):
    """A row of the csv, as far as the database has it."""
    columns = ('img_name', 'mos', 'std', 'ref_name', 'distortion', 'level')
    return dict(zip(columns, values, strict=False))


def draw(generator, low, high, digits=9):
    """A score with no more digits than the workbooks made here can hold."""
    return round(float(generator.uniform(low, high)), digits)


def cells(*texts):
    """A MATLAB cell array of strings."""
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def make_tid2013(root):
    generator = np.random.default_rng(0)
    rows, scores, stds = [], [], []
    for reference in (1, 2, 3, 4, 25):
        capital = reference != 25
        photo = f'I{reference:02d}.BMP' if capital else 'i25.bmp'
        write_image(root / 'reference_images' / photo)
        for (number, kind), level in itertools.product(TID_TYPES.items(), (1, 4)):
            listed = f'I{reference:02d}_{number:02d}_{level}.bmp'
            on_disk = listed.lower() if reference < 3 else listed.upper()
            write_image(root / 'distorted_images' / on_disk)
            mos, std = draw(generator, 0, 9, 5), draw(generator, 0, 1, 5)
            scores.append(f'{mos:.5f} {listed}')
            stds.append(f'{std:.5f}')
            rows.append(row_of(on_disk, mos, std, photo, kind, level))
    (root / 'mos_with_names.txt').write_text('\r\n'.join(scores) + '\r\n')
    (root / 'mos_std.txt').write_text('\n'.join(stds) + '\n')
    return rows


def make_kadid10k(root):
    generator = np.random.default_rng(1)
    rows = []
    for reference in (1, 2, 3, 80, 81):
        write_image(root / 'images' / f'I{reference:02d}.png')
        for (number, kind), level in itertools.product(KADID_TYPES.items(), (1, 5)):
            name = f'I{reference:02d}_{number:02d}_{level:02d}.png'
            write_image(root / 'images' / name)
            rows.append(
                row_of(
                    name,
                    draw(generator, 1, 5, 2),
                    draw(generator, 0, 1, 3),
                    f'I{reference:02d}.png',
                    kind,
                    level,
                )
            )
    table = [[row[c] for c in ('img_name', 'ref_name', 'mos', 'std')] for row in rows]
    write_csv(root / 'dmos.csv', ('dist_img', 'ref_img', 'dmos', 'var'), table)
    return rows


def make_live(root):
    generator = np.random.default_rng(2)
    places = [
        (folder, place)
        for folder, count in LIVE_SIZES.items()
        for place in range(1, count + 1)
    ]
    references = [f'photo{index % 7}.bmp' for index in range(len(places))]
    dmos = generator.uniform(-2.64, 111.77, len(places))
    stds = generator.random(len(places))
    pristine = np.arange(len(places)) % 5 == 3
    rows = []
    for index, (folder, place) in enumerate(places):
        name = f'{folder}/img{place}.bmp'
        write_image(root / name)
        if not pristine[index]:
            rows.append(
                row_of(name, dmos[index], stds[index], references[index], folder)
            )
    for photo in set(references):
        write_image(root / 'refimgs' / photo)
    flags = pristine.astype(np.uint8)
    content = {'dmos_new': dmos, 'dmos_std': stds, 'orgs': flags}
    savemat(root / 'dmos_realigned.mat', content, oned_as='row')
    unaligned = 1 + 0.8 * np.clip(dmos, 0, 100)
    savemat(root / 'dmos.mat', {'dmos': unaligned, 'orgs': flags}, oned_as='row')
    names = {'refnames_all': cells(*references).reshape(1, -1)}
    savemat(root / 'refnames_all.mat', names)
    return rows


def make_csiq(root):
    generator = np.random.default_rng(3)
    rows, table = [], []
    for photo, (word, (folder, token)), level in itertools.product(
        (1600, 'boston', 'lady_liberty'), CSIQ_TYPES.items(), (1, 3)
    ):
        name = f'{folder}/{photo}.{token}.{level}.png'
        write_image(root / 'dst_imgs' / name)
        write_image(root / 'src_imgs' / f'{photo}.png')
        dmos, std = draw(generator, 0, 1), draw(generator, 0, 0.2)
        table.append([None, None, None, photo, 1, word, level, std, dmos])
        rows.append(row_of(name, dmos, std, f'{photo}.png', token, level))
    names = ['image', 'dst_idx', 'dst_type', 'dst_lev', 'dmos_std', 'dmos']
    head = [['CSIQ'], [], [], [None, None, None, *names]]
    write_sheet(root / 'csiq.DMOS.xlsx', [*head, *table], 'all_by_image')
    return rows


def make_livec(root):
    generator = np.random.default_rng(4)
    names = [f't{number}.bmp' for number in range(1, 8)]
    for name in names:
        write_image(root / 'Images' / 'trainingImages' / name)
    names += ['3.bmp', '10.bmp', '1024.JPG', '723.jpg', '1.JPG']
    names += [f'{number}.bmp' for number in range(11, 18)]
    for name in names[7:]:
        write_image(root / 'Images' / name)
    mos = generator.uniform(0, 100, len(names))
    stds = generator.uniform(10, 20, len(names))
    (root / 'Data').mkdir()
    for file, values in (
        ('AllImages_release', cells(*names).reshape(-1, 1)),
        ('AllMOS_release', mos.reshape(1, -1)),
        ('AllStdDev_release', stds.reshape(1, -1)),
    ):
        savemat(root / 'Data' / f'{file}.mat', {file: values})
    return [
        {'img_name': name, 'mos': mos[index], 'std': stds[index]}
        for index, name in enumerate(names)
        if index >= 7
    ]


def koniq_votes(counts):
    """The cells of both published files for such counts of votes."""
    total = sum(counts)
    mean = sum(grade * count for grade, count in enumerate(counts, 1)) / total
    shares = [f'{count / total:.12g}' for count in counts]
    return mean, [*counts, total, mean], [*shares, total]


def make_koniq10k(root, size='512x384'):
    generator = np.random.default_rng(5)
    sets = ['training', 'validation', 'test', 'training', 'test', 'training']
    rows, scores, parts = [], [], []
    for index, part in enumerate(sets):
        name = f'{10004473376 + index}.jpg'
        write_image(root / size / name)
        counts = generator.multinomial(105, (0.1, 0.2, 0.3, 0.3, 0.1)).tolist()
        mean, counted, shared = koniq_votes(counts)
        sd = generator.random()
        scores.append([name, *counted, sd, 60.1])
        parts.append([name, *shared, 60.1, sd, part])
        part = {'training': 'train', 'validation': 'val'}.get(part, part)
        rows.append({'img_name': name, 'mos': mean, 'std': sd, 'official_split': part})
    votes = ['image_name', 'c1', 'c2', 'c3', 'c4', 'c5', 'c_total', 'MOS', 'SD']
    write_csv(
        root / 'koniq10k_scores_and_distributions.csv', [*votes, 'MOS_zscore'], scores
    )
    write_csv(root / 'koniq10k_distributions_sets.csv', [*votes, 'set'], parts)
    return rows


def make_koniq10k_1024(root):
    return make_koniq10k(root, '1024x768')


def make_cid2013(root):
    generator = np.random.default_rng(6)
    rows, table = [], []
    for subset, cluster, device in itertools.product(range(1, 7), (1, 8), (1, 2)):
        name = f'IS_{ROMAN[subset - 1]}_C{cluster:02d}_D{device:02d}'
        path = f'IS{subset}/co{cluster}/{name}.jpg'
        write_image(root / path)
        mos = draw(generator, 0, 100)
        table.append([name, draw(generator, 0, 100), mos, 3.2])
        rows.append({'img_name': path, 'mos': mos, 'subset': f'IS{subset}'})
    header = ['Source_ID', 'Image set specific  MOS', 'Realigned MOS', 'Sharpness']
    write_sheet(
        root / 'CID2013 data - version 12112014.xlsx', [header, *table], 'CID2013 MOS'
    )
    return rows


def make_spaq(root):
    generator = np.random.default_rng(7)
    rows, table = [], []
    for number in range(1, 13):
        name, mos = f'{number:05d}.jpg', draw(generator, 0, 100)
        write_image(root / 'TestImage' / name)
        table.append([name, mos, 50, 51])
        rows.append({'img_name': name, 'mos': mos})
    header = ['Image name', 'MOS', 'Brightness', 'Colorfulness']
    path = root / 'Annotations' / 'MOS and Image attribute scores.xlsx'
    write_sheet(path, [header, *table])
    return rows


def make_bid(root):
    generator = np.random.default_rng(8)
    rows, table = [], []
    for number in (1, 2, 30, 585, *range(40, 48)):
        name, mos = f'DatabaseImage{number:04d}.JPG', draw(generator, 0, 5)
        write_image(root / 'ImageDatabase' / name)
        table.append([number, mos])
        rows.append({'img_name': name, 'mos': mos})
    header = ['Image Number', 'Average Subjective Grade']
    write_sheet(root / 'DatabaseGrades.xlsx', [header, *table], 'Plan1')
    return rows


def make_biq2021(root):
    """Of the first subset three photos are of one burst, two of them for training."""
    generator = np.random.default_rng(9)
    names = [f'ss01 ({number}).jpg' for number in (10, 12, 13, *range(3001, 3010))]
    names += [f'ss02 ({number}).jpg' for number in (1014, *range(3001, 3012))]
    names += [f'ss03 ({number}).jpg' for number in range(9001, 9014)]
    rows, tables = [], {'train': [], 'test': []}
    for place, name in enumerate(names):
        on_disk = name.replace('ss02 (1014).jpg', 'ss02 (1014).JPG')
        write_image(root / 'Images' / on_disk)
        part = 'test' if place % 6 == 2 else 'train'
        row = {'img_name': on_disk, 'mos': draw(generator, 0, 1, 4)}
        row |= {'subset': name[:4], 'group': names[0] if place < 3 else np.nan}
        rows.append(row | {'official_split': part})
        tables[part].append([name, row['mos']])
    train = [[*cells, '', ''] for cells in tables['train']]
    files = [f'{word} (Images and MOS).csv' for word in ('Train', 'Test')]
    write_csv(root / files[0], ['Image Name', 'MOS', '', ''], train)
    write_csv(root / files[1], ['Image Name', 'MOS'], tables['test'])
    return sorted(rows, key=lambda row: row['official_split'] == 'test')
