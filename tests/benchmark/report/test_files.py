"""The files of a report: whole, alike each time, and with nothing unescaped."""

import base64
import csv
import hashlib
import html
import json
import re
import shutil
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
from made_experiments import NAMES, Made, cell, grid

from metaiqa_plugin.benchmark.records import Predictions, read_json, write_json
from metaiqa_plugin.benchmark.report import charts, write_report
from metaiqa_plugin.cli import main
from metaiqa_plugin.errors import UserError


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def page(report):
    return (report / 'report.html').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def text(report):
    return (report / 'report.md').read_text(encoding='utf-8')


def test_the_command_counts_cells_and_replaces_only_when_told(
    experiments, tmp_path, capsys
):
    command = ['report', str(experiments / 'across'), '--out', str(tmp_path / 'out')]
    assert main(command) == 0
    line = f'{tmp_path}/out/report.html: 1 experiments, cells: 5 finished, 0 failed, 1'
    assert capsys.readouterr().out == f'{line} open\n'
    before = files(tmp_path)
    (tmp_path / 'out' / 'report-figures' / 'e9-scatter-1.svg').touch()
    assert main(command) == 2
    assert 'exists; give --overwrite' in capsys.readouterr().err
    assert main([*command, '--overwrite']) == 0
    assert files(tmp_path) == before


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert used and set(used) <= set(ids)


def test_no_outside_assets(page):
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {link.split(',')[0][:5] for link in links if link[0] != '#'} == {'data:'}
    assert not re.search(r'@import|url\((?!#)', page)
    (code,) = re.findall(r'<script>(.*)</script>', page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = re.search(r'Security-Policy" content="([^"]*)"', page)[1]
    assert html.unescape(policy).startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in html.unescape(policy)


def test_a_single_experiment_has_its_title_once(rewritten, tmp_path, page):
    alone = rewritten(lambda folder: None)
    title = 'across: a made experiment'
    text = (tmp_path / 'out' / 'report.md').read_text(encoding='utf-8')
    assert re.findall(rf'<h\d.*{title}', alone) == [f'<h1>{title}']
    assert re.findall(rf'^#+ {title}', text, re.M) == [f'# {title}']
    assert 'Small sample (24 images in a test set)' in alone
    assert f'<h2>{title}' in page


def test_text_is_escaped(page):
    assert '<script>alert' not in page and '&lt;script&gt;alert' in page
    assert '<b>no weights' not in page and 'Made numbers &amp; &lt;no&gt;' in page


def test_ink_is_that_of_the_page(page):
    assert charts.INK not in page
    assert 'fill: currentColor' in page


def test_markdown_shows_the_same_tables_and_its_pictures(page, text, report):
    shown = re.findall(r'!\[.*?\]\((report-figures/[^)]+)\)', text)
    for name in shown:
        assert (report / name).stat().st_size > 100
    on_disk = {
        f'report-figures/{path.name}' for path in (report / 'report-figures').iterdir()
    }
    assert on_disk == set(shown)
    captions = re.findall(r'<caption>(.*?)</caption>', page)
    assert re.findall(r'^\*\*(.+)\*\*$', text.replace('\\', ''), re.M) == captions
    rules = re.findall(r'^\| -[-: |]+\|$', text, re.M)
    assert (
        len(rules) == len(captions) + page.count('<dl>') + page.count('-worst">W') // 2
    )
    numbers = re.findall(r'<strong>([-\d.]+)</strong>', page)
    assert Counter(numbers) == Counter(re.findall(r'\*\*([-\d.]+)\*\*', text))


def test_rows_of_markdown_have_as_many_cells_as_their_head(text):
    width = 0
    for line in text.splitlines():
        count = len(re.findall(r'(?<!\\)\|', line)) if line.startswith('|') else 0
        assert width in (0, count) or not count
        width = count


def test_pictures_are_files_of_their_own(report):
    for path in (report / 'report-figures').glob('*.svg'):
        root = ElementTree.parse(path).getroot()
        assert root.tag == '{http://www.w3.org/2000/svg}svg'
        assert root.attrib['aria-label'] == root[0].text != ''


def test_every_cell_is_in_the_csv_with_all_numbers(report, experiments):
    with (report / 'report.csv').open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert Counter(row['experiment'] for row in rows) == {
        **{'authentic': 62, 'unseen': 36, 'few_shot': 18, 'sweep': 10, 'nothing': 2},
        **{'across': 2 * 5 + 1, 'zero_shot': 10, 'runtime': 6},
    }
    (row,) = [
        row
        for row in rows
        if (row['method'], row['split']) == ('k5-S4', '02') and row['test'] == 'test'
    ]
    found = json.loads((experiments / 'sweep/cells/k5-S4/02/0/result.json').read_text())
    assert float(row['srocc']) == found['tests']['test']['srocc']
    assert json.loads(row['facets']) == {'k': 5, 'S': 4, 'split': 2}
    assert (row['best_epoch'], row['seconds']) == ('3', '61.5')
    assert {row['state'] for row in rows} == {'finished', 'failed', 'open'}
    assert {row['srocc'] for row in rows if row['method'] == 'constant'} == {'nan'}


@pytest.fixture
def rewritten(tmp_path, experiments):
    """Writes a report of a copy of an experiment after a change; its page."""

    def write(change):
        folder = tmp_path / 'across'
        shutil.copytree(experiments / 'across', folder)
        change(folder)
        write_report([folder], tmp_path / 'out')
        return (tmp_path / 'out' / 'report.html').read_text(encoding='utf-8')

    return write


def test_images_that_are_lost_leave_a_note(rewritten, tmp_path):
    def change(folder):
        plan = read_json(folder / 'plan.json')
        (tmp_path / '01.webp').write_bytes(b'no image')
        plan['databases']['kodak']['dataroot_target'] = str(tmp_path)
        write_json(folder / 'plan.json', plan)

    page = rewritten(change)
    assert '10 images could not be read below' in page
    assert page.count('class="lost"') == 10 and '<img' not in page


def test_missing_predictions_leave_a_note(rewritten):
    page = rewritten(
        lambda folder: [path.unlink() for path in folder.rglob('predictions-*.csv')]
    )
    assert 'No predictions are on disk' in page and 'across databases' in page


def test_the_worst_images_are_those_ranked_farthest_off(tmp_path):
    made = Made(tmp_path / 'x', 'authentic', [cell('a', '1')])
    mos = np.linspace(0, 1, 24)
    scores = mos.copy()
    for one, other in ((8, 9), (2, 20), (10, 13), (15, 16)):
        scores[[one, other]] = scores[[other, one]]
    scores[5] = np.nan
    made.finish(made.cells[0], Predictions(NAMES, ['all'] * 24, mos, scores))
    write_report([tmp_path / 'x'], tmp_path / 'out')
    text = (tmp_path / 'out' / 'report.md').read_text(encoding='utf-8')
    worst = re.findall(r'\| (\d\d\.webp) \|.*\| ([-+]\d+) % \|', text)
    assert worst[:4] == [
        ('03.webp', '+77'),
        ('21.webp', '-77'),
        ('11.webp', '+14'),
        ('14.webp', '-14'),
    ]
    assert len(worst) == 5 and '06.webp' not in dict(worst)


def test_bad_input_is_told(tmp_path, experiments):
    with pytest.raises(UserError, match='holds no experiment'):
        write_report([tmp_path], tmp_path / 'out')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='is a file; name a folder'):
        write_report([experiments / 'nothing'], tmp_path / 'file', overwrite=True)


@pytest.mark.parametrize('name', ['$x_y^{2}$', '_under', '<&">', '日本', 'a|b`c*'])
def test_odd_names_of_methods(tmp_path, name):
    cells = [
        {**planned, 'folder': f'cells/{planned["split"]}'}
        for planned in grid([name], '12')
    ]
    made = Made(tmp_path / 'x', 'authentic', cells)
    mos = np.linspace(0, 1, 24)
    for planned in cells:
        shown = Predictions(NAMES, ['u', 'v'] * 12, mos, mos**2)
        made.finish(planned, shown, curve=True)
    write_report([tmp_path / 'x'], tmp_path / 'out')
    text = ' '.join(
        ''.join(ElementTree.parse(path).getroot().itertext())
        for path in (tmp_path / 'out' / 'report-figures').glob('*.svg')
    )
    legends, title = 2, 1
    assert text.count(name) == legends + title
    page = (tmp_path / 'out' / 'report.html').read_text(encoding='utf-8')
    assert '<&">' not in page
