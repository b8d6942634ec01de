"""``metaiqa score`` as it is used: in a pipe, on a terminal, killed, resumed."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pyiqa
import pytest
from started import Started, finished

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.cli import main
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.score import open_metric, run


@pytest.fixture
def score(checkpoint, capfd):
    """Run the command; its exit code, rows on standard output, and summary."""

    def call(*arguments):
        command = ['score', *map(str, arguments), '--metric', checkpoint]
        code = main([*command, '--json'])
        out, error = capfd.readouterr()
        rows = list(csv.DictReader(io.StringIO(out)))
        facts = [json.loads(line) for line in error.splitlines() if line[:1] == '{']
        return code, rows, facts[0] if facts else error

    return call


@pytest.fixture
def nested(tmp_path, small_photos):
    """Six photos in folders, and a file that is not an image."""
    folder = tmp_path / 'photos'
    for place, path in enumerate(sorted(small_photos.iterdir())):
        (folder / str(place % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / str(place % 2))
    (folder / 'broken.png').write_text('no image')
    return folder


def test_a_table_on_standard_output(score, checkpoint, nested):
    code, rows, facts = score(nested)
    assert code == 1
    assert list(rows[0]) == ['path', 'tiny.safetensors', 'width', 'height', 'error']
    assert [row['path'] for row in rows] == sorted(row['path'] for row in rows)
    metric = open_metric(checkpoint)
    good = [row for row in rows if not row['error']]
    assert len(good) == 6 and len(rows) == 7
    for row in good:
        assert float(row['tiny.safetensors']) == pytest.approx(
            metric(row['path']).item(), abs=1e-5
        )
        assert (row['width'], row['height']) == ('96', '64')
    scores = [float(row['tiny.safetensors']) for row in good]
    found = facts['metrics']['tiny.safetensors']
    assert (facts['images'], facts['failed'], found['images']) == (7, 1, 6)
    assert found['mean'] == pytest.approx(sum(scores) / 6, abs=1e-6)
    assert sum(found['counts']) == 6


@pytest.mark.parametrize('suffix', ['.csv', '.jsonl', '.parquet'])
def test_a_table_in_a_file_and_metrics_beside_each_other(
    score, nested, tmp_path, suffix
):
    out = tmp_path / f'scores{suffix}'
    code, rows, _ = score(nested, '--metric', 'piqe', '--out', out)
    assert code == 1 and not rows
    read = {'.csv': pd.read_csv, '.parquet': pd.read_parquet}.get(
        suffix, lambda path: pd.read_json(path, lines=True)
    )
    table = read(out)
    names = ['path', 'piqe', 'tiny.safetensors', 'width', 'height', 'error']
    assert list(table) == names
    assert len(table) == 7 and table.error.notna().sum() == 1
    assert table.piqe.notna().sum() == table['tiny.safetensors'].notna().sum() == 6
    piqe = open_metric('piqe')
    for path, value in zip(table.path, table.piqe, strict=True):
        if value == value:
            assert value == pytest.approx(piqe(path).item(), abs=1e-4)


def test_the_best_the_worst_and_those_below(score, nested, tmp_path):
    _, rows, _ = score(nested)
    name = 'tiny.safetensors'
    good = [row for row in rows if row[name]]
    ranked = sorted(good, key=lambda row: (-float(row[name]), row['path']))
    assert score(nested, '--top', 2)[1] == ranked[:2]
    worst = sorted(good, key=lambda row: (float(row[name]), row['path']))
    assert score(nested, '--bottom', 3)[1] == worst[:3]
    middle = (float(ranked[2][name]) + float(ranked[3][name])) / 2
    below = [row for row in good if float(row[name]) < middle]
    assert score(nested, '--below', middle, '--out', tmp_path / 'all.csv')[1] == below
    assert len(pd.read_csv(tmp_path / 'all.csv')) == 7
    lowest_piqe = ['--metric', 'piqe', '--by', 'piqe', '--top', 1]
    piqe = {
        path: open_metric('piqe')(path).item() for path in (r['path'] for r in good)
    }
    assert score(nested, *lowest_piqe)[1][0]['path'] == min(piqe, key=piqe.get)


def test_a_contact_sheet(score, nested, tmp_path):
    code, _, _ = score(nested, '--bottom', 1, '--html', tmp_path / 'sheet.html')
    page = (tmp_path / 'sheet.html').read_text()
    assert code == 1
    assert all(name in page for _, _, names in os.walk(nested) for name in names)
    again = (nested, '--top', 1, '--html', tmp_path / 'sheet.html')
    assert 'exists; give --overwrite' in score(*again)[2]
    assert score(*again, '--overwrite')[0] == 1


def test_a_finished_table_is_kept_and_takes_only_new_images(score, nested, tmp_path):
    out = tmp_path / 'scores.csv'
    score(nested, '--out', out)
    before = out.read_text()
    assert 'exists; continue with --resume' in score(nested, '--out', out)[2]
    assert out.read_text() == before
    shutil.copy(nested / '0' / os.listdir(nested / '0')[0], nested / 'new.png')
    code, _, facts = score(nested, '--out', out, '--resume')
    assert (code, facts['before'], facts['images'], facts['failed']) == (1, 7, 8, 1)
    added = out.read_text().removeprefix(before).splitlines()
    assert len(added) == 1 and 'new.png' in added[0]
    assert score(nested, '--out', out, '--overwrite')[2]['before'] == 0


def test_another_spelling_of_a_folder_doubles_no_row(
    score, nested, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    score('photos', '--out', 'scores.csv')
    for spelling in ('./photos', nested, 'photos/../photos/'):
        facts = score(spelling, '--out', 'scores.csv', '--resume')[2]
        assert (facts['before'], facts['images']) == (7, 7)


@pytest.mark.parametrize('option', ['--overwrite', '--resume'])
@pytest.mark.parametrize('spelling', ['list.csv', './list.csv', 'link.csv', 'hard.csv'])
def test_an_input_is_never_an_output(
    score, nested, tmp_path, monkeypatch, spelling, option
):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / 'list.csv'
    table.write_text(f'path\n{nested}/broken.png\n')
    (tmp_path / 'link.csv').symlink_to(table)
    os.link(table, tmp_path / 'hard.csv')
    code, _, error = score('list.csv', '--out', spelling, option)
    assert code == 2 and f"out='{spelling}' would replace what is read" in error
    assert table.read_text().startswith('path')


def test_a_contact_sheet_replaces_no_input(score, nested, checkpoint, tmp_path):
    page = tmp_path / 'list.html'
    page.symlink_to(checkpoint)
    assert 'would replace' in score(nested, '--html', page, '--overwrite')[2]
    photo = nested / 'broken.png'
    assert 'ends in .html' in score(nested, '--html', photo)[2]
    assert photo.read_text() == 'no image'


def test_a_run_that_is_killed_goes_on_without_a_row_lost_or_twice(
    checkpoint, small_photos, tmp_path
):
    folder = tmp_path / 'many'
    folder.mkdir()
    photo = read_rgb(sorted(small_photos.iterdir())[0])
    for number in range(400):
        photo.rotate(number % 360).save(folder / f'{number:04}.png')
    out = tmp_path / 'scores.csv'
    command = [sys.executable, '-m', 'metaiqa_plugin.cli', 'score', str(folder)]
    command += ['--metric', checkpoint, '--out', str(out), '--resume', '--json']
    run = Started(command, stderr=subprocess.DEVNULL)
    while not out.exists() or out.read_bytes().count(b'\n') < 50:
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert out.read_bytes().endswith(b'\n')
    done = finished(command, check=True)
    assert json.loads(done.stderr)['before'] >= 49
    paths = pd.read_csv(out).path.tolist()
    assert paths == sorted(str(path) for path in folder.iterdir())


def test_a_list_on_standard_input(score, nested, monkeypatch):
    names = ['0/broken', *sorted(os.listdir(nested / '1'))]
    listed = io.BytesIO('\n'.join(names).encode())
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(listed))
    code, rows, _ = score('-', '--root', nested / '1')
    assert code == 1
    assert [bool(row['error']) for row in rows] == [True, False, False, False]


def test_a_file_in_several_spellings_is_scored_once(
    score, nested, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to('photos')
    rows = score('photos/1', './photos', nested, 'link', 'photos/0/../broken.png')[1]
    assert len(rows) == 7
    assert sum(row['path'].startswith('photos/') for row in rows) == 3


def test_rows_with_an_error_are_tried_again(score, nested, tmp_path):
    out = tmp_path / 'scores.csv'
    score(nested, '--out', out)
    shutil.copy(next((nested / '0').iterdir()), nested / 'broken.png')
    assert score(nested, '--out', out, '--resume')[2]['failed'] == 1
    code, _, facts = score(nested, '--out', out, '--retry-failed')
    assert (code, facts['before'], facts['images'], facts['failed']) == (0, 6, 7, 0)
    table = pd.read_csv(out)
    assert len(table) == 7 and table.error.isna().all()


def test_a_finished_table_takes_no_scores_of_other_weights(
    score, checkpoint, nested, tmp_path, tiny_network
):
    out = tmp_path / 'scores.csv'
    score(nested, '--out', out)
    before = out.read_text()
    state = tiny_network.state_dict()
    state['head.0.bias'] = state['head.0.bias'] + 1
    write_state_dict(checkpoint, state, overwrite=True)
    code, _, error = score(nested, '--out', out, '--resume')
    assert code == 2 and 'the earlier run had metrics=' in error
    assert out.read_text() == before


def test_names_that_are_not_utf8_do_not_come_twice(score, nested, tmp_path):
    broken = os.fsencode(nested) + b'/broken.png'
    os.rename(broken, os.fsencode(nested) + b'/\xff.png')
    out = tmp_path / 'scores.parquet'
    score(nested, '--out', out)
    facts = score(nested, '--out', out, '--resume')[2]
    assert (facts['before'], facts['images']) == (7, 7)


def test_names_are_no_formulas(score, nested, tmp_path, monkeypatch):
    monkeypatch.chdir(nested / '0')
    names = ['=a.png', '+b.png', '@c.png']
    for old, new in zip(sorted(os.listdir()), names, strict=True):
        os.rename(old, new)
    out = tmp_path / 'scores.csv'
    assert score(*names, '--out', out)[0] == 0
    assert pd.read_csv(out).path.tolist() == [f'./{name}' for name in names]
    assert score('.', '--out', out, '--resume')[2]['images'] == 3


def test_rows_on_a_terminal_do_not_control_it(checkpoint, nested, monkeypatch):
    names = [b'\x1b[31m.png', b'\x07.png', b'\xff.png']
    folder = os.fsencode(nested / '0')
    for old, new in zip(sorted(os.listdir(folder)), names, strict=True):
        os.rename(folder + b'/' + old, folder + b'/' + new)

    def printed(terminal):
        out = io.TextIOWrapper(io.BytesIO(), 'ascii', newline='')
        out.isatty = lambda: terminal
        monkeypatch.setattr(sys, 'stdout', out)
        assert main(['score', str(nested / '0'), '--metric', checkpoint]) == 0
        return out.buffer.getvalue()

    assert all(name in printed(False) for name in names)
    shown = printed(True)
    assert rb'/\x1b[31m.png' in shown and rb'/\x07.png' in shown
    assert rb'/\xff.png' in shown and shown.replace(b'\n', b'').isascii()
    assert not any(byte < 32 for byte in shown.replace(b'\n', b''))


def test_a_metric_that_cannot_be_had_does_not_stop_the_others(
    checkpoint, nested, tmp_path, monkeypatch, capfd
):
    build = pyiqa.create_metric

    def create(name, **options):
        if name == 'piqe':
            raise OSError('no route')
        return build(name, **options)

    monkeypatch.setattr(pyiqa, 'create_metric', create)
    out = str(tmp_path / 'scores.csv')
    command = ['score', str(nested / '0'), '--metric', 'piqe', '--metric', checkpoint]
    assert main([*command, '--out', out]) == 1
    lines = capfd.readouterr().err.splitlines()
    told = (
        "metaiqa: column 'piqe' stays empty: metric 'piqe' cannot be opened: no route"
    )
    assert sum(line.startswith(told) for line in lines) == 2  # first and last of ours
    assert not any('not scored' in line for line in lines)
    table = pd.read_csv(out)
    assert table.piqe.isna().all() and table['tiny.safetensors'].notna().all()
    assert main([*command[:4], '--overwrite', '--out', out]) == 2
    monkeypatch.undo()
    assert main([*command, '--out', out, '--retry-failed']) == 0
    assert pd.read_csv(out).piqe.notna().sum() == 3


def test_away_from_a_terminal_the_summary_is_for_people(
    checkpoint, nested, monkeypatch, capfd
):
    monkeypatch.setattr(run, 'PROGRESS_SECONDS', 0)
    (nested / 'photo.CR2').touch()
    (nested / 'photo.cr2').touch()
    (nested / 'readme').touch()
    command = ['score', str(nested), '--metric', checkpoint, '--top', '1']
    assert main(command) == 1
    text = capfd.readouterr().err
    assert re.search(r'metaiqa: 7 images, [0-9.]+ a second\n', text)
    assert '7 images in' in text and 'tiny.safetensors (higher is better): mean' in text
    broken = f"no score: '{nested}/broken.png': image '{nested}/broken.png' cannot be"
    assert broken in text
    assert 'files that are no images: 2 .cr2, 1 without suffix' in text
    assert '{' not in text and '\r' not in text


def test_on_a_terminal_there_is_a_bar_with_the_rate_and_a_histogram(
    checkpoint, nested, tmp_path, monkeypatch
):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', terminal)
    out = str(tmp_path / 'scores.csv')
    assert main(['score', str(nested), '--metric', checkpoint, '--out', out]) == 1
    text = terminal.getvalue()
    assert re.search(r'score: 100%.*7/7 .*image/s', text)
    assert '7 images in' in text and 'tiny.safetensors (higher is better): mean' in text
    assert '█' in text and '1 images not scored' in text
    assert '{' not in text


def test_a_contact_sheet_replaces_no_image_of_a_table(score, nested, tmp_path):
    page = tmp_path / 'photo.html'
    shutil.copy(nested / 'broken.png', page)
    (tmp_path / 'list.csv').write_text(f'path\n{page}\n')
    code, _, error = score(tmp_path / 'list.csv', '--html', page, '--overwrite')
    assert code == 2 and 'would replace an image' in error
    assert page.read_text() == 'no image'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere'], "images='nowhere': no such file or folder"),
        (['{photos}', 'nowhere.jpg'], "images='nowhere.jpg': no such file or folder"),
        (['{photos}', '--out', 'there.csv'], 'exists; continue with --resume'),
        (['{photos}', '--out', 'scores.txt'], "'scores.txt': expected"),
        (['{photos}', '--out', 'there.csv', '--resume'], 'has other columns than'),
        (['{photos}', '--out', 'there.parquet', '--resume'], 'cannot be read as Parq'),
        (['{photos}', '--out', 'begun.csv', '--resume'], 'begun, is damaged'),
        (['{photos}', '--out', 'there.csv/scores.csv'], 'cannot be written'),
        (['{photos}', '--out', f'{"n" * 300}.csv'], 'too long'),
    ],
)
def test_what_is_wrong_is_said_before_a_network_is_loaded(
    score, small_photos, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, 'open_scorers', lambda *a, **k: pytest.fail('loaded'))
    (tmp_path / 'there.csv').write_text('path,mos\n')
    (tmp_path / 'there.parquet').write_text('PAR1')
    (tmp_path / 'begun.csv').touch()
    (tmp_path / 'begun.csv.unfinished.json').write_text('[')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, _, error = score(*(a.format(photos=small_photos) for a in arguments))
    assert code == 2 and message in error
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['{photos}', '--top', '0'], 'top=0'),
        (['{photos}', '--workers', '-1'], 'workers=-1'),
        (['{photos}', '--by', 'niqe'], "by='niqe': expected one of tiny.safetensors"),
        (['{photos}', '--by', 'tiny.safetensors'], 'only with --top'),
        (['{photos}', '--resume'], '--resume needs --out'),
        (['{photos}', '--out', 'scores.txt'], "'scores.txt': expected"),
        (['{photos}', '--metric', 'ssim'], "'ssim' is not a no-reference"),
        (['nowhere/*.jpg', '--out', 'new.csv'], 'no file matches'),
        (['{photos}', '--ray', '--workers', '2'], '--ray: it decides'),
        (['{photos}', '--memory', '0'], '--memory=0.0'),
        (['{photos}', '--shrink-jpeg', '--metric', 'piqe'], "'piqe' takes images"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    score, small_photos, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    before = os.listdir(tmp_path)
    arguments = [str(small_photos) if a == '{photos}' else a for a in arguments]
    code, rows, error = score(*arguments)
    assert (code, rows) == (2, [])
    assert message in error
    assert os.listdir(tmp_path) == before
