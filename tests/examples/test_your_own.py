"""docs/your-own.md does what it says, block by block."""

import csv
import os
import re
import shlex
import shutil
from pathlib import Path

from metaiqa_plugin.cli import main

PAGE = Path(__file__).parents[2] / 'docs' / 'your-own.md'


def write_data(small_photos):
    """Photos and their ratings, as the page describes them."""
    shutil.copytree(small_photos, 'photos')
    for path in [*Path('photos').iterdir()]:
        shutil.copy(path, f'photos/again-{path.name}')
    names = sorted(path.name for path in Path('photos').iterdir())
    with open('ratings.csv', 'w', newline='') as file:
        rows = (
            (name, 1 + 4 * place / 11, 'train' if place % 3 else 'test')
            for place, name in enumerate(names)
        )
        csv.writer(file).writerows([('image', 'rating', 'session'), *rows])


def run_lines(text, monkeypatch):
    for line in text.splitlines():
        program, *arguments = shlex.split(line)
        if program == 'export':
            name, _, value = arguments[0].partition('=')
            path = f'{value}{os.pathsep}{os.environ.get(name, "")}'
            monkeypatch.setenv(name, path)
            monkeypatch.syspath_prepend(os.path.abspath(value))
            continue
        assert (program, main(arguments)) == ('metaiqa', 0), line


def test_the_blocks_of_the_page_run_as_they_stand(
    tmp_path, monkeypatch, small_photos, capsys
):
    monkeypatch.chdir(tmp_path)
    write_data(small_photos)
    before = {path: path.read_bytes() for path in Path('photos').iterdir()}
    found = re.findall(r'^```(\w+)\n(.*?)^```$', PAGE.read_text(), re.M | re.S)
    assert [language for language, _ in found].count('sh') == 3
    for language, text in found:
        name = re.match(r'# (my_method\.\w+|compare\.yml)\n', text)
        if name:
            Path(name[1]).write_text(text)
        elif language == 'sh':
            run_lines(text, monkeypatch)
        else:
            exec(compile(text, str(PAGE), 'exec'), {})
    printed = capsys.readouterr().out
    assert all(f'{path.name}: ' in printed for path in before)
    assert {path: path.read_bytes() for path in Path('photos').iterdir()} == before
    with open('report/report.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert {row['method'] for row in rows} == {'My method', 'MetaIQA'}
    assert 'My method' in Path('report/report.html').read_text()
