"""The verb export."""

import pytest
import torch

from metaiqa_plugin.cli import main


def execute(*arguments):
    return main(['export', *map(str, arguments)])


def test_it_writes_and_tells_what_and_how_close(tmp_path, checkpoint, capfd):
    out = tmp_path / 'new folder' / 'tiny.torchscript.pt'
    size = ['--input', '96x128', '--pixels', 'uint8']
    assert execute('--metric', checkpoint, '--out', out, *size) == 0
    printed = capfd.readouterr().out
    assert f'{out}: uint8 (batch, 96, 128, 3), RGB -> float32 (batch, 1)' in printed
    assert 'score range 0, 1, higher is better' in printed
    assert 'at most 0.0e+00 from the original' in printed
    images = torch.zeros(2, 96, 128, 3, dtype=torch.uint8)
    assert torch.jit.load(str(out))(images).shape == (2, 1)
    assert execute('--metric', checkpoint, '--out', out) == 2
    assert execute('--metric', checkpoint, '--out', out, '--overwrite') == 0


def test_any_size_is_the_default(tmp_path, checkpoint):
    out = tmp_path / 'tiny.pt'
    assert execute('--metric', checkpoint, '--out', out) == 0
    model = torch.jit.load(str(out))
    for size in ((30, 40), (200, 100)):
        assert model(torch.rand(1, 3, *size)).shape == (1, 1)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--out', 'a.pb'], "suffix '.pb' is unknown"),
        *(
            (['--out', 'a.pt', f'--input={text}'], f"input='{text}'")
            for text in ('480', '480x', '480x640x3', '-8x8', '7x8', '4 x 4')
        ),
        (['--out', 'a.pt', '--metric', 'rankiqa'], '--input 480x640'),
        (['--out', 'a.pt', '--metric', 'nowhere.pth'], 'nowhere.pth'),
        (['--out', 'a.pt', '--pixels', 'bgr'], "pixels='bgr'"),
    ],
)
def test_bad_input_is_one_line_and_a_code(
    tmp_path, monkeypatch, capfd, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert execute(*arguments) == 2
    printed = capfd.readouterr().err.splitlines()
    [line] = [line for line in printed if line.startswith('metaiqa:')]
    assert line.startswith('metaiqa: ')
    assert message in line
    assert list(tmp_path.iterdir()) == []
