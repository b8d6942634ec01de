"""The command as a user runs it: results, and one clear line for bad input."""

import argparse
import ast
import csv
import re
from pathlib import Path
from urllib.error import URLError

import pandas as pd
import pyiqa
import pytest
import torch
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin import __version__
from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.cli import VERBS, common, main, parser
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.weights import shipped_path


@pytest.fixture
def prior(tmp_path, tiny_network):
    path = tmp_path / 'prior.safetensors'
    write_state_dict(path, tiny_network.state_dict())
    return path


@pytest.fixture
def labels(tmp_path, small_photos):
    path = tmp_path / 'labels.csv'
    names = sorted(item.name for item in small_photos.iterdir())
    rows = [[name, 20 + 10 * index] for index, name in enumerate(names)]
    with path.open('w', newline='') as file:
        csv.writer(file).writerows([['image', 'mos'], *rows])
    return path


def error_line(capfd):
    error = capfd.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith('metaiqa:')]
    assert len(lines) == 1, error
    assert 'Traceback' not in error
    return lines[0]


def test_adapt_then_score_with_what_it_wrote(
    tmp_path, prior, small_photos, labels, capfd
):
    adapted = tmp_path / 'adapted.safetensors'
    adapt = ['adapt', '--metric', str(prior), '--images', str(small_photos)]
    adapt += ['--scores', str(labels), '--score-range', '0', '100', '--steps', '4']
    assert main([*adapt, '--out', str(adapted)]) == 0
    printed = capfd.readouterr().out
    assert '6 images, the stages trained' in printed and 'in 4 steps' in printed

    table = tmp_path / 'new folder' / 'scores.csv'
    score = ['score', str(small_photos), '--metric', str(adapted)]
    assert main([*score, '--out', str(table)]) == 0
    rows = pd.read_csv(table)
    metric = pyiqa.create_metric('metaiqa', pretrained_model_path=str(adapted))
    assert len(rows) == 6
    for row in rows.itertuples():
        assert row[2] == pytest.approx(metric(row.path).item(), abs=1e-6)

    assert main([*adapt, '--out', str(adapted)]) == 2
    assert 'exists' in error_line(capfd)
    assert main([*adapt, '--out', str(adapted), '--overwrite']) == 0


def test_adapt_the_prior_that_ships(tmp_path, small_photos, labels, capfd):
    adapted = tmp_path / 'adapted.safetensors'
    adapt = ['adapt', '--metric', 'metaiqa-prior', '--images', str(small_photos)]
    adapt += ['--scores', str(labels), '--score-range', '0', '100']
    adapt += ['--steps', '0', '--out', str(adapted)]
    assert main(adapt) == 0
    printed = capfd.readouterr().out
    assert '6 images, ' in printed and 'expected for other images' in printed
    assert 'loss' not in printed
    prior, found = (
        MetaIQA(pretrained_model_path=path).backbone.state_dict()
        for path in (shipped_path('metaiqa-prior'), str(adapted))
    )
    assert all(torch.equal(prior[key], found[key]) for key in prior)


def test_synthesize(tmp_path, small_photos, capfd):
    out = tmp_path / 'db'
    command = ['synthesize', str(small_photos), str(out), '--types', 'jpeg']
    assert main([*command, '--levels', '1', '3', '--workers', '1']) == 0
    assert '12 images' in capfd.readouterr().out
    assert len(pd.read_csv(out / 'meta_info_db.csv')) == 12
    assert main(command) == 2
    assert '--resume' in error_line(capfd)


def test_broken_images_are_rows_and_a_non_zero_code(tmp_path, prior, photos, capfd):
    folder = tmp_path / 'mixed'
    folder.mkdir()
    (folder / 'good.webp').write_bytes(photos[0].read_bytes())
    (folder / 'cut.webp').write_bytes(photos[0].read_bytes()[:2000])
    (folder / 'zero.png').touch()
    table = tmp_path / 'scores.csv'
    command = ['score', str(folder), '--metric', str(prior), '--out', str(table)]
    assert main(command) == 1
    assert '2 images not scored' in error_line(capfd)
    rows = pd.read_csv(table).set_index('path')
    assert rows['error'].notna().sum() == 2
    assert rows['prior.safetensors'].notna().tolist() == [False, True, False]

    command = ['synthesize', str(folder), str(tmp_path / 'db'), '--types', 'jpeg']
    (folder / 'zero.png').rename(folder / 'zeros.png')
    assert main([*command, '--workers', '1', '--levels', '1']) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['score', 'nowhere'], 'not scored'),
        (['score', '{empty}'], 'no image in this folder'),
        (['score', 'x.png', '--metric', 'ssim'], "'ssim' is not a no-reference"),
        (['score', 'x.png', '--metric', 'nowhere.pth'], 'does not exist'),
        (['synthesize', 'nowhere', '{new}'], 'no such folder'),
        (['synthesize', '{photos}', '{new}', '--types', 'blur'], "'blur'"),
        (
            ['synthesize', '{photos}', '{new}', '--levels', '7'],
            'level must be a number from 1 to 5',
        ),
        (['synthesize', '{photos}', '{new}', '--workers', '0'], 'processes=0'),
        (
            ['synthesize', '{photos}', '{new}', '--random-levels', '0'],
            'random_levels=0',
        ),
        (['score', '{photos}', '--device', 'nosuch'], "device='nosuch'"),
        (['train', '-opt', 'nowhere.yml'], 'no such option file'),
        (['adapt', '--images', 'nowhere', '{labels}', '{out}'], 'no such folder'),
        (['adapt', '--images', '{photos}', '--scores=no.csv', '{out}'], "'no.csv'"),
        (['adapt', '--images', '{photos}', '{labels}', '{out}'], '--score-range'),
        (['adapt', '--images', '{photos}', '{labels}', '--out=x.h5'], "'.h5'"),
    ],
)
def test_bad_input_is_one_line_and_a_code(
    tmp_path, prior, small_photos, labels, capfd, arguments, message
):
    (tmp_path / 'empty').mkdir()
    filled = {
        'empty': tmp_path / 'empty',
        'new': tmp_path / 'new',
        'photos': small_photos,
        'labels': f'--scores={labels}',
        'out': f'--out={tmp_path / "adapted.pth"}',
    }
    arguments = [argument.format(**filled) for argument in arguments]
    checkpoint = {'adapt': '--metric', 'score': '--metric'}.get(arguments[0])
    if checkpoint and checkpoint not in arguments and '--metric' not in arguments:
        arguments += [checkpoint, str(prior)]
    assert main(arguments) in (1, 2)
    assert message in error_line(capfd)
    assert not (tmp_path / 'new' / 'meta_info_new.csv').exists()


def test_a_checkpoint_of_another_network_is_one_line(tmp_path, small_photos, capfd):
    state = MetaIQA('test_resnet', pretrained=False).state_dict()
    del state['head.0.bias']
    torch.save({'params': state}, tmp_path / 'other.pth')
    command = ['score', str(small_photos), '--metric', str(tmp_path / 'other.pth')]
    assert main(command) == 2
    assert 'head.0.bias' in error_line(capfd)


def test_weights_that_can_not_be_fetched_are_one_line(monkeypatch, photos, capfd):
    def unreachable(*args, **kwargs):
        raise URLError('no route')

    monkeypatch.setattr(pyiqa, 'create_metric', unreachable)
    assert main(['score', str(photos[0]), '--metric', 'brisque']) == 2
    assert 'model hub' in error_line(capfd)


def test_help_names_every_verb(capfd):
    with pytest.raises(SystemExit, match='0'):
        main(['--help'])
    printed = capfd.readouterr().out
    missing = [verb for verb in VERBS if not re.search(rf'(?m)^ +{verb}\b', printed)]
    assert missing == []


def test_the_version_is_that_of_the_package(capfd):
    with pytest.raises(SystemExit, match='0'):
        main(['--version'])
    assert capfd.readouterr().out.strip() == __version__


def test_an_option_of_several_verbs_is_in_common_alone():
    files = {}
    for path in Path(common.__file__).parent.glob('*.py'):
        for call in ast.walk(ast.parse(path.read_text())):
            name = isinstance(call, ast.Call) and getattr(call.func, 'attr', '')
            for word in call.args if name == 'add_argument' else ():
                if str(getattr(word, 'value', '')).startswith('-'):
                    files.setdefault(word.value, set()).add(path.stem)
    assert {name: where for name, where in files.items() if len(where) > 1} == {}


def retired():
    """Verbs, their old spellings, and what options each verb has."""
    (verbs,) = (action for action in parser()._actions if action.choices)
    for verb, of_verb in verbs.choices.items():
        known = of_verb._option_string_actions
        for old in (name for name in known if known[name].help == argparse.SUPPRESS):
            yield verb, old, set(known)


@pytest.mark.parametrize(('verb', 'old', 'known'), list(retired()))
def test_an_old_spelling_names_the_new_one(verb, old, known, capfd):
    assert main([verb, old, 'value']) == 2
    line = error_line(capfd)
    new = re.fullmatch(rf'metaiqa: {old} was removed; use (--[a-z-]+)\b.*', line)
    assert new[1] in known - {old}


def test_every_old_spelling_is_known():
    old = {'--checkpoint', '--prior', '--force', '--redo', '--jobs', '--processes'}
    assert {name for _, name, _ in retired()} >= {*old, '--force_yml'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'required: VERB; see metaiqa --help'),
        (['scores'], "invalid choice: 'scores'"),
        (['score'], 'required: images; see metaiqa score --help'),
        (['score', 'x', '--topp', '1'], 'unrecognized arguments: --topp'),
        (['score', 'x', '--top', '1', '--bottom', '1'], 'not allowed with'),
        (['ranking', 'x', '--levels', 'high'], "--levels: invalid level value: 'high'"),
    ],
)
def test_what_the_parser_refuses_is_one_line_and_a_code(arguments, message, capfd):
    assert main(arguments) == 2
    assert message in error_line(capfd)


def test_pyiqas_command_knows_our_metrics(capfd):
    assert main(['pyiqa', '-ls']) == 0
    assert 'metaiqa-official' in capfd.readouterr().out


@pytest.mark.parametrize('kind', ['RankIQA', 'HyperIQA'])
def test_score_takes_a_checkpoint_of_any_network(kind, tmp_path, small_photos, capfd):
    build = {'RankIQA': RankIQA, 'HyperIQA': HyperIQA}[kind]
    network = build('test_efficientnet', pretrained=False, crop_size=32, crops=1)
    path = tmp_path / 'network.safetensors'
    write_state_dict(path, network.state_dict())
    assert main(['score', str(small_photos), '--metric', str(path)]) == 0
    rows = list(csv.DictReader(capfd.readouterr().out.splitlines()))
    network.eval()
    for row in rows:
        image = to_tensor(read_rgb(row['path'])).unsqueeze(0)
        expected = network(image).item()
        assert float(row['network.safetensors']) == pytest.approx(expected, abs=1e-5)
    assert len(rows) == 6
