"""Photos of one scene are found, and kept together."""

import csv
import sys

import near_duplicates
import numpy as np
import pytest
from PIL import ImageEnhance, ImageFilter

from metaiqa_plugin.data.images import read_rgb


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr(near_duplicates, 'available_cores', lambda: 1)


def test_darker_and_blurred_photos_are_of_one_group(
    photos, tmp_path, monkeypatch, capsys
):
    rows = []
    for path in photos[:4]:
        image = read_rgb(path).resize((192, 128))
        versions = {'a': image}
        if path == photos[1]:
            versions['dark'] = ImageEnhance.Brightness(image).enhance(0.7)
            versions['blurred'] = image.filter(ImageFilter.GaussianBlur(2))
        for name, version in versions.items():
            version.save(tmp_path / f'{path.stem}-{name}.JPG', quality=90)
            part = 'test' if name == 'dark' else 'train'
            rows.append((f'{path.stem}-{name}.jpg', 0.5, 'one', part))
    table = tmp_path / 'table.csv'
    with table.open('w', newline='') as file:
        header = ('img_name', 'mos', 'subset', 'official_split')
        csv.writer(file).writerows([header, *rows])
    out = tmp_path / 'groups.csv'
    arguments = ['x', str(table), str(tmp_path), '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', arguments)
    near_duplicates.main()
    stem = photos[1].stem
    assert out.read_text().splitlines() == [
        'img_name,group',
        *(f'{stem}-{name}.jpg,{stem}-a.jpg' for name in ('a', 'blurred', 'dark')),
    ]
    bits = capsys.readouterr().out.splitlines()[5].split()
    assert bits == ['8', '3', '1', '3', '3', '0', '1']


def test_pairs_are_those_of_few_bits():
    hashes = np.random.default_rng(0).integers(2**63, size=1200, dtype=np.uint64)
    hashes[1100] = hashes[3] ^ np.uint64(0b101)
    hashes[700] = hashes[1100] ^ np.uint64(1 << 40)
    pairs, bits = near_duplicates.near_pairs(hashes, 2)
    found = {tuple(pair): bit for pair, bit in zip(pairs.tolist(), bits, strict=True)}
    assert found == {(3, 1100): 2, (700, 1100): 1}
    groups = near_duplicates.groups_of(pairs, len(hashes))
    assert len({groups[3], groups[700], groups[1100]}) == 1
    assert len(set(groups)) == 1198
