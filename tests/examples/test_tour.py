"""docs/tour.md does what it says, block by block."""

import csv
import re
import shlex
import shutil
from pathlib import Path

from metaiqa_plugin.cli import main

TOUR = Path(__file__).parents[2] / 'docs' / 'tour.md'


def blocks():
    found = re.findall(r'^```(\w+)\n(.*?)^```$', TOUR.read_text(), re.M | re.S)
    assert {language for language, _ in found} == {'sh', 'python'}
    return found


def test_the_blocks_of_the_tour_run_as_they_stand(tmp_path, monkeypatch, small_photos):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_photos, 'photos')
    for photo in sorted(small_photos.iterdir())[:4]:
        shutil.copy(photo, f'photos/again-{photo.name}')
    variables = {}
    for language, text in blocks():
        if language == 'python':
            exec(compile(text, str(TOUR), 'exec'), variables)
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert (program, main(arguments)) == ('metaiqa', 0), line
    photos = sorted(path.name for path in Path('photos').iterdir())
    for table, column in (('scores.csv', 'metaiqa'), ('mine.csv', 'mine.safetensors')):
        with open(table, newline='') as file:
            rows = list(csv.DictReader(file))
        assert [Path(row['path']).name for row in rows] == photos
        assert all(0 < float(row[column]) < 1 for row in rows)
    assert 'data:image/jpeg' in Path('sheet.html').read_text()
    for name in photos:
        assert list(Path('maps').rglob(f'{Path(name).stem}*.png')), name
    assert variables['before'].images == variables['after'].images == 5
