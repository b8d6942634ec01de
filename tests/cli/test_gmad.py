"""The verb gmad, from images to tables and a sheet."""

import contextlib
import io
import shutil

import pandas as pd
import pytest
import torch
from PIL import Image

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.cli import main
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.score import engines, open_metric
from metaiqa_plugin.study import gmad as study

RIVAL = 'rival.safetensors'
SIZES = ('--quality-levels', 2, '--pairs', 2, '--tolerance', 1)


def execute(*arguments):
    return main(['gmad', *map(str, arguments)])


@pytest.fixture(scope='module')
def rival(tmp_path_factory):
    """A checkpoint whose scores have nothing to do with quality."""
    torch.manual_seed(0)
    network = MetaIQA('test_efficientnet', pretrained=False, input_size=64, hidden=16)
    path = tmp_path_factory.mktemp('rival') / RIVAL
    write_state_dict(path, network.state_dict())
    return str(path)


@pytest.fixture(scope='module')
def folder(tmp_path_factory, small_photos):
    """Twelve images in a folder and one below it, and one that is none."""
    images = tmp_path_factory.mktemp('gmad') / 'images'
    shutil.copytree(small_photos, images / 'below')
    for path in sorted((images / 'below').iterdir()):
        small = read_rgb(path).resize((24, 16))
        small.resize((96, 64)).save(images / path.name)
    (images / 'broken.png').write_text('no image')
    return images


@pytest.fixture(scope='module')
def contest(tmp_path_factory, folder, rival):
    """The exit code, the folder of results, what was printed, the images drawn."""
    out = tmp_path_factory.mktemp('contest') / 'out'
    sides = ['--defender', 'piqe', '--attacker', rival]
    shown = []
    with (
        pytest.MonkeyPatch.context() as patched,
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(io.StringIO()) as told,
    ):
        patched.setattr(engines, 'fastest', engines.TorchEngine)
        patched.setattr(study, 'read_rgb', lambda at: shown.append(at) or read_rgb(at))
        code = execute(folder, *sides, *SIZES, '--out', out)
    return code, out, printed.getvalue(), told.getvalue(), shown


def test_scores_are_those_of_the_metrics_and_a_broken_image_is_a_row(
    contest, folder, rival
):
    code, out, _, told, _ = contest
    assert code == 1
    assert 'skipped' in told
    table = pd.read_csv(out / 'scores.csv')
    assert list(table) == ['path', 'piqe', RIVAL, 'width', 'height', 'error']
    assert len(table) == 13
    assert list(table['path']) == sorted(table['path'])
    broken = table[table['error'].notna()]
    assert list(broken['path']) == [str(folder / 'broken.png')]
    assert broken[['piqe', RIVAL]].isna().all(axis=None)
    for image in (0, 6):
        assert ('below' in table['path'][image]) == (image == 6)
        for metric, name in (('piqe', 'piqe'), (rival, RIVAL)):
            expected = open_metric(metric)(table['path'][image]).item()
            assert table[name][image] == pytest.approx(expected, rel=1e-5)


def test_pairs_agree_with_the_scores_and_know_that_piqe_is_lower_better(contest):
    _, out, printed, *_ = contest
    scores = pd.read_csv(out / 'scores.csv').set_index('path')
    table = pd.read_csv(out / 'gmad.csv')
    given = table[table['role'] == 'given']
    swapped = table[table['role'] == 'swapped']
    assert len(given) > 0
    assert len(swapped) > 0
    assert len(given) + len(swapped) == len(table)
    assert set(given['defender']) == set(swapped['attacker']) == {'piqe'}
    assert set(given['attacker']) == set(swapped['defender']) == {RIVAL}
    assert (given['attacker_better'] > given['attacker_worse']).all()
    assert (swapped['attacker_better'] < swapped['attacker_worse']).all()
    deviations = scores[['piqe', RIVAL]].std(ddof=0)
    for row in table.itertuples():
        for place, image in (('better', row.image_better), ('worse', row.image_worse)):
            for side in ('defender', 'attacker'):
                score = scores.loc[image, getattr(row, side)]
                assert getattr(row, f'{side}_{place}') == score
        apart = abs(row.attacker_better - row.attacker_worse)
        expected = apart / deviations[row.attacker]
        assert row.difference == pytest.approx(expected, rel=1e-3)
    piqe = given.groupby('level')[['defender_better', 'defender_worse']]
    assert piqe.min().loc[1].min() > piqe.max().loc[2].max()
    assert f'{len(given)} of 4 pairs' in printed


def test_the_same_command_writes_the_same_tables_and_replaces_when_told_to(
    contest, folder, rival, tmp_path, capfd
):
    out = contest[1]
    again = tmp_path / 'again'
    again.mkdir()
    (again / 'gmad.csv').write_text('old')
    files = sorted(folder.rglob('*.png'), reverse=True)
    linked = tmp_path / 'linked'
    linked.symlink_to(folder / 'below')
    command = [*files, linked, folder, '--defender', 'piqe', '--attacker', rival]
    command += [*SIZES, '--out', again]
    assert execute(*command) == 2
    assert '--overwrite' in capfd.readouterr().err
    assert execute(*command, '--overwrite') == 1
    for name in ('scores.csv', 'gmad.csv'):
        assert (out / name).read_bytes() == (again / name).read_bytes()


def test_the_sheet_shows_each_image_of_a_pair_once_in_the_order_of_its_rows(contest):
    _, out, _, _, shown = contest
    table = pd.read_csv(out / 'gmad.csv')
    table['turn'] = (table['role'] == 'swapped').astype(int)
    table = table.sort_values(['turn', 'level', 'pair'], ascending=[True, False, True])
    assert shown == table[['image_better', 'image_worse']].to_numpy().ravel().tolist()
    with Image.open(out / 'gmad.png') as sheet:
        assert sheet.width > 1000
        assert len(sheet.convert('RGB').getcolors(2**24)) > 1000


def test_checkpoints_of_one_name_are_told_apart_by_their_folders(
    folder, rival, tmp_path
):
    torch.manual_seed(1)
    network = MetaIQA('test_efficientnet', pretrained=False, input_size=64, hidden=16)
    other = str(tmp_path / RIVAL)
    write_state_dict(other, network.state_dict())
    sides = ['--defender', rival, '--attacker', other, '--out', tmp_path / 'out']
    execute(folder, *sides, '--quality-levels', 1)
    header = list(pd.read_csv(tmp_path / 'out' / 'scores.csv'))
    assert header == ['path', rival, other, 'width', 'height', 'error']


def test_levels_without_a_pair_are_drawn_as_such(folder, rival, tmp_path, capfd):
    sides = ['--defender', 'piqe', '--attacker', rival, '--out', tmp_path / 'out']
    assert execute(folder, *sides, '--tolerance', 0) == 1
    assert '0 of 10 pairs' in capfd.readouterr().out
    assert (tmp_path / 'out' / 'gmad.csv').read_text().count('\n') == 1
    assert (tmp_path / 'out' / 'gmad.png').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--defender', 'piqe', '--attacker', 'piqe'], "both 'piqe'"),
        (['--defender', 'ssim', '--attacker', 'piqe'], "'ssim' is not"),
        (['--defender', 'piqe', '--attacker', 'nowhere.pth'], 'nowhere.pth'),
        (
            ['--defender', 'piqe', '--attacker', 'entropy', '--quality-levels', 0],
            'levels=0',
        ),
        (['--defender', 'piqe', '--attacker', 'entropy', '--pairs', 0], 'pairs=0'),
        (
            ['--defender', 'piqe', '--attacker', 'entropy', '--tolerance', -1],
            'tolerance=-1',
        ),
        (
            ['--defender', 'piqe', '--attacker', 'entropy', '--quality-levels', 7],
            'levels=7: needs at least 14 images, got 13',
        ),
    ],
)
def test_bad_input_is_one_line_and_a_code(folder, tmp_path, capfd, arguments, message):
    assert execute(folder, *arguments, '--out', tmp_path / 'out') == 2
    lines = capfd.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith('metaiqa:')]
    told = [line for line in told if 'skipped' not in line]
    assert len(told) == 1
    assert message in told[0]
    assert not (tmp_path / 'out' / 'gmad.csv').exists()
