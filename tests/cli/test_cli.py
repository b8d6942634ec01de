"""The command as a user runs it: results, and one clear line for bad input."""

import ast
import csv
import re
from pathlib import Path
from urllib.error import URLError

import pandas as pd
import pyiqa
import pytest
import torch
from pyiqa import pyiqa_cmd
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin import __version__
from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.cli import RENAMED, VERBS, common, main, parser
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.weights import shipped_path

BOTH = ('--defender', 'metaiqa', '--attacker', 'piqe')
OPTIONS_OF_TRAINING = Path(__file__).parents[2] / 'options' / 'train' / 'MetaIQA'


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
        (['score', 'nowhere'], 'no such file or folder'),
        (['score', '{empty}'], 'no image in this folder'),
        (['score', '{photos}', '--metric', 'ssim'], "'ssim' is not a no-reference"),
        (['score', '{photos}', '--metric', 'nowhere.pth'], 'does not exist'),
        (['synthesize', 'nowhere', '{new}'], 'no such folder'),
        (['score', '{photos}', '--device', 'nosuch'], "device='nosuch'"),
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


@pytest.mark.parametrize(
    'error',
    [
        URLError('no route'),
        FileNotFoundError('cannot find the file on the Hub\nand it is not cached'),
        ModuleNotFoundError("No module named 'pkg_resources'"),
    ],
)
def test_weights_and_packages_that_are_not_there_are_one_line(
    error, monkeypatch, photos, capfd
):
    def unreachable(*args, **kwargs):
        raise error

    monkeypatch.setattr(pyiqa, 'create_metric', unreachable)
    assert main(['score', str(photos[0]), '--metric', 'brisque']) == 2
    line = error_line(capfd)
    assert 'model hub' in line and ' '.join(str(error).split()) in line


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


(verbs,) = (action for action in parser()._actions if action.choices)
OPTIONS = {name: verb._option_string_actions for name, verb in verbs.choices.items()}


@pytest.mark.parametrize('old', RENAMED)
@pytest.mark.parametrize('verb', VERBS)
def test_an_old_spelling_names_the_new_one_and_the_help(verb, old, capfd):
    if old in OPTIONS[verb]:
        pytest.skip('an option of this verb')
    assert main([verb, old, 'value']) == 2
    line = error_line(capfd)
    assert line.endswith(f'; see metaiqa {verb} --help')
    if re.match(r'--[\w-]+', RENAMED[old])[0] in OPTIONS[verb]:
        assert line.startswith(f'metaiqa: {old} was removed; use {RENAMED[old]};')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['gmad', '{photos}', *BOTH, '--quality-levels', '0'], '--quality-levels=0: '),
        (['gmad', '{photos}', *BOTH, '--quality-levels', '4'], '--quality-levels=4: '),
        (
            ['gmad', '{photos}', *BOTH, '--tolerance=-1'],
            '--tolerance=-1.0: expected a finite number of at least 0',
        ),
        (
            ['gmad', '{photos}', *BOTH, '--attacker=no', '--quality-levels=3'],
            "metric 'no' is not a no-r",
        ),
        (['gmad', 'no.png', *BOTH], "images='no.png': no such file or folder"),
        (['explain', 'no.png', '{photos}'], "images='no.png': no such file or folder"),
        (['hyper-weights', 'no'], "images='no': no such file or folder"),
        (['hyper-weights', '{photo}'], 'at least 4 images that can be read, got 1'),
        (['ranking', 'no'], "photos='no': no such folder"),
        (['adapt', '--images', 'no', '{labels}', '{out}'], "--images='no': no such f"),
        (['adapt', '{all}', '--scores=no.csv', '{out}'], "--scores='no.csv': no such"),
        (['adapt', '{all}', '{labels}', '{out}', '--metric=rankiqa'], "c='rankiqa': e"),
        (
            ['adapt', '{all}', '{labels}', '{out}', '--metric=no.pth'],
            "ic='no.pth': exp",
        ),
        (['adapt', '{all}', '{labels}', '{out}', '--steps=-1'], '--steps=-1: expecte'),
        (['adapt', '{all}', '{labels}', '{out}', '--score-column=x'], '(--score-colum'),
        (
            ['adapt', '{all}', '{labels}', '{out}', '--score-range', '5', '1'],
            '--score-range=[5.0, 1.0]: expected low < high',
        ),
        (['adapt', '{all}', '{labels}', '{out}'], 'range of the study (--score-range)'),
        (
            ['synthesize', '{photos}', '{new}', '--types=blur'],
            "--types='blur': no such",
        ),
        (['synthesize', '{photos}', '{new}', '--levels=7'], '--levels=7: expected'),
        (['synthesize', '{photos}', '{new}', '--workers=0'], '--workers=0: expected'),
        (['synthesize', '{photos}', '{new}', '--random-levels=0'], '--random-levels=0'),
        (['synthesize', '{photos}', '{photos}', '--resume'], 'one inside of the other'),
        (['synthesize', '{photos}', '{photos}/new'], 'one inside of the other'),
        (['synthesize', '{photos}', '{photos}/..'], 'one inside of the other'),
        (['prepare', 'csv', '{photos}'], 'prepare csv needs --scores'),
        (['prepare', 'csv', '{photos}', '--scores=no.csv'], "--scores='no.csv': no su"),
        (['prepare', 'livec', 'no'], "root='no': no such folder"),
        (['export', '--out=x.onnx', '--input=3x3'], "--input='3x3': expected dynamic"),
        (['export', '--out=new/x.onnx', '--metric=no.pth'], "'no.pth' does not exist"),
        (['ui', '--metric=no.pth'], "'no.pth' does not exist"),
        (['report', 'no'], "'no' holds no experiment"),
        (['train', '-opt=no.yml'], "-opt 'no.yml': no such option file"),
        (
            ['train', '-opt={kodak}'],
            "datasets.train.meta_info_file='data/kodak/meta_in",
        ),
        (['benchmark', '-opt=no.yml'], "-opt 'no.yml': no such option file"),
        (['pyiqa'], 'no metric is given'),
        (['pyiqa', 'metaiqa'], 'no image is given; name it, or a folder, with --targe'),
        (['pyiqa', 'no', '-t', '{photos}'], "metric 'no' is unknown"),
        (['pyiqa', 'metaiqa', '-t', 'no'], "--target='no': no such file or folder"),
        (['pyiqa', 'metaiqa', '-t', '{empty}'], 'no image in this folder'),
        (['pyiqa', 'ssim', '-t', '{photo}'], "metric 'ssim' compares with a reference"),
        (['pyiqa', 'ssim', '-t', '{photo}', '-r=no'], "--ref='no': no such file"),
        (['pyiqa', 'metaiqa', '-t={photo}', '--device=no'], "--device='no' cannot be"),
        (['pyiqa', 'metaiqa', '-t={photo}', '--size', '1'], 'unrecognized arguments'),
    ],
)
def test_what_is_wrong_is_told_as_typed_before_anything_is_loaded_or_made(
    tmp_path, small_photos, labels, monkeypatch, capfd, arguments, message
):
    here = tmp_path / 'here'
    (here / 'empty').mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(pyiqa, 'create_metric', None)
    filled = {
        'photos': small_photos,
        'photo': next(small_photos.iterdir()),
        'all': f'--images={small_photos}',
        'labels': f'--scores={labels}',
        'out': '--out=new/adapted.pth',
        'new': 'new/folder',
        'empty': 'empty',
        'kodak': OPTIONS_OF_TRAINING / 'metaiqa_kodak.yml',
    }
    assert main([argument.format(**filled) for argument in arguments]) == 2
    assert message in error_line(capfd)
    assert [path.name for path in here.iterdir()] == ['empty']
    assert len(list(small_photos.rglob('*'))) == 6


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'required: VERB; see metaiqa --help'),
        (['scores'], "invalid choice: 'scores'"),
        (['score'], 'required: images; see metaiqa score --help'),
        (['score', 'x', '--topp'], 'arguments: --topp; see metaiqa score --help'),
        (['score', 'x', '--top', '1', '--bottom', '1'], 'not allowed with'),
        (['ranking', 'x', '--levels', 'high'], "--levels: invalid level value: 'high'"),
    ],
)
def test_what_the_parser_refuses_is_one_line_and_a_code(arguments, message, capfd):
    assert main(arguments) == 2
    assert message in error_line(capfd)


def test_pyiqas_command_is_given_what_was_typed(small_photos, monkeypatch, capfd):
    asked = []

    def create(name, device):
        asked.append((name, device))
        return lambda path: torch.tensor(0.5)

    monkeypatch.setattr(pyiqa_cmd, 'create_metric', create)
    given = ['-v', '-t', str(small_photos), '--device', 'cpu']
    assert main(['pyiqa', 'metaiqa', 'rankiqa', *given]) == 0
    assert asked == [('metaiqa', 'cpu'), ('rankiqa', 'cpu')]
    printed = capfd.readouterr().out
    assert all(str(path) in printed for path in small_photos.iterdir())


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
