"""The files of a report: whole, alike each time, and with nothing unescaped."""

import csv
import json
import re
import shutil
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest

from metaiqa_plugin.benchmark.records import Predictions
from metaiqa_plugin.benchmark.report import charts, write_report
from metaiqa_plugin.errors import UserError


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_what_was_written(report):
    assert report.experiments == 8
    assert report.cells == {'finished': 154, 'failed': 2, 'open': 4}
    assert report.html.stat().st_size < 3e6


def test_the_same_input_gives_the_same_bytes(experiments, tmp_path):
    names = ('few_shot', 'across', 'runtime')
    paths = [experiments / name for name in names]
    (tmp_path / 'b' / 'report-figures').mkdir(parents=True)
    (tmp_path / 'b' / 'report-figures' / 'e9-scatter-1.svg').touch()
    for out in ('a', 'b'):
        write_report(paths, tmp_path / out)
    assert files(tmp_path / 'a') == files(tmp_path / 'b')


def test_ids_are_unique_and_references_lead_somewhere(report):
    page = report.html.read_text(encoding='utf-8')
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert used and set(used) <= set(ids)


def test_no_outside_assets(report):
    page = report.html.read_text(encoding='utf-8')
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {link.split(',')[0][:5] for link in links if link[0] != '#'} == {'data:'}
    assert not re.search(r'@import|url\((?!#)', page)


def test_text_is_escaped(report):
    page = report.html.read_text(encoding='utf-8')
    assert '<script>alert' not in page and '&lt;script&gt;alert' in page
    assert '<b>no weights' not in page and 'Made numbers &amp; &lt;no&gt;' in page


def test_ink_is_that_of_the_page(report):
    page = report.html.read_text(encoding='utf-8')
    assert charts.INK not in page
    assert 'fill: currentColor' in page


def test_markdown_shows_the_same_tables_and_its_pictures(report):
    page = report.html.read_text(encoding='utf-8')
    text = report.markdown.read_text(encoding='utf-8')
    shown = re.findall(r'!\[.*?\]\((report-figures/[^)]+)\)', text)
    for name in shown:
        assert (report.markdown.parent / name).stat().st_size > 100
    on_disk = {f'report-figures/{path.name}' for path in report.figures.iterdir()}
    assert on_disk == set(shown)
    captions = re.findall(r'<caption>(.*?)</caption>', page)
    assert re.findall(r'^\*\*(.+)\*\*$', text.replace('\\', ''), re.M) == captions
    rules = re.findall(r'^\| -[-: |]+\|$', text, re.M)
    assert (
        len(rules) == len(captions) + page.count('<dl>') + page.count('-worst">W') // 2
    )
    numbers = re.findall(r'<strong>([-\d.]+)</strong>', page)
    assert Counter(numbers) == Counter(re.findall(r'\*\*([-\d.]+)\*\*', text))


def test_rows_of_markdown_have_as_many_cells_as_their_head(report):
    width = 0
    for line in report.markdown.read_text(encoding='utf-8').splitlines():
        count = len(re.findall(r'(?<!\\)\|', line)) if line.startswith('|') else 0
        assert width in (0, count) or not count
        width = count


def test_pictures_are_files_of_their_own(report):
    for path in report.figures.glob('*.svg'):
        root = ElementTree.parse(path).getroot()
        assert root.tag == '{http://www.w3.org/2000/svg}svg'
        assert root.attrib['aria-label'] == root[0].text != ''


def test_csv_holds_all_numbers(report, experiments):
    with report.table.open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert {row['experiment'] for row in rows} == {
        path.name for path in experiments.iterdir()
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


def test_images_that_are_lost_leave_a_note(tmp_path, make, experiments):
    folder = tmp_path / 'sweep'
    shutil.copytree(experiments / 'sweep', folder)
    plan = json.loads((folder / 'plan.json').read_text())
    (tmp_path / '01.webp').write_bytes(b'no image')
    plan['databases']['kodak']['dataroot_target'] = str(tmp_path)
    make.write(folder, plan)
    page = write_report([folder], tmp_path / 'out').html.read_text(encoding='utf-8')
    assert '25 images could not be read below' in page
    assert page.count('class="lost"') == 25 and '<img' not in page


def test_the_worst_images_are_those_ranked_farthest_off(tmp_path, make):
    planned = make.cell('a', '1')
    folder = make.write(tmp_path / 'x', make.plan('x', 'authentic', ['a'], [planned]))
    mos = np.linspace(0, 1, 24)
    scores = mos.copy()
    for one, other in ((8, 9), (2, 20), (10, 13), (15, 16)):
        scores[[one, other]] = scores[[other, one]]
    scores[5] = np.nan
    shown = Predictions(make.names, ['all'] * 24, mos, scores)
    make.finish(folder, planned, {'test': shown}, curve=False)
    text = write_report([folder], tmp_path).markdown.read_text(encoding='utf-8')
    worst = re.findall(r'\| (\d\d\.webp) \|.*\| ([-+]\d+) % \|', text)
    assert worst[:4] == [
        ('03.webp', '+77'),
        ('21.webp', '-77'),
        ('11.webp', '+14'),
        ('14.webp', '-14'),
    ]
    assert len(worst) == 5 and '06.webp' not in dict(worst)


def test_missing_predictions_leave_a_note(tmp_path, experiments):
    folder = tmp_path / 'sweep'
    shutil.copytree(experiments / 'sweep', folder)
    for path in folder.rglob('predictions-*.csv'):
        path.unlink()
    page = write_report([folder], tmp_path / 'out').html.read_text(encoding='utf-8')
    assert 'No predictions are on disk' in page and 'PLCC and SROCC' in page


def test_large_scatter_plots_are_pixels():
    many = np.linspace(0, 1, 2000)
    small = charts.scatter('a', 'few', many[:50], many[:50])
    large = charts.scatter('b', 'many', many, many)
    assert '<image' in large.svg and '<image' not in small.svg
    assert len(large.svg) < 60_000


def test_bad_input_is_told(tmp_path, experiments):
    with pytest.raises(UserError, match='holds no experiment'):
        write_report([tmp_path], tmp_path / 'out')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='is a file; name a folder'):
        write_report([experiments / 'nothing'], tmp_path / 'file')


@pytest.mark.parametrize('name', ['$x_y^{2}$', '_under', '<&">', '日本', 'a|b`c*'])
def test_odd_names_of_methods(tmp_path, make, name):
    folder_name = re.sub(r'\W', 'x', name)
    planned = [make.cell(name, str(split), split=split) for split in (1, 2)]
    planned = [
        {**one, 'folder': f'cells/{folder_name}/{one["split"]}'} for one in planned
    ]
    plan = make.plan('x', 'authentic', [name], planned)
    folder = make.write(tmp_path / 'x', plan)
    mos = np.linspace(0, 1, 24)
    for one in planned:
        shown = Predictions(make.names, ['u', 'v'] * 12, mos, mos**2)
        make.finish(folder, one, {'test': shown})
    report = write_report([folder], tmp_path)
    text = ' '.join(
        ''.join(ElementTree.parse(path).getroot().itertext())
        for path in report.figures.glob('*.svg')
    )
    legends, title = 2, 1
    assert text.count(name) == legends + title
    assert '<&">' not in report.html.read_text(encoding='utf-8')
