"""Weight files: written, read back, refused."""

import os

import pytest
import torch

from metaiqa_plugin.archs.checkpoint import (
    EXTRA_STATE,
    decode_config,
    encode_config,
    read_state_dict,
    write_state_dict,
)
from metaiqa_plugin.errors import CheckpointError, UserError

STATE = {'layer.weight': torch.rand(3, 2), EXTRA_STATE: encode_config({'a': [1, 'é']})}


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth', '.pt'])
def test_what_was_written_is_read_by_anyone(tmp_path, suffix):
    path = tmp_path / f'new/one{suffix}'
    before = os.umask(0o022)
    try:
        write_state_dict(path, STATE)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    found = read_state_dict(path)
    assert torch.equal(found['layer.weight'], STATE['layer.weight'])
    assert decode_config(found[EXTRA_STATE]) == {'a': [1, 'é']}


def test_half_precision_halves_real_numbers_alone(tmp_path):
    write_state_dict(tmp_path / 'half.safetensors', STATE, half=True)
    found = read_state_dict(tmp_path / 'half.safetensors')
    assert torch.equal(found['layer.weight'], STATE['layer.weight'].half())
    assert torch.equal(found[EXTRA_STATE], STATE[EXTRA_STATE])


@pytest.mark.parametrize('wrapper', ['params', 'state_dict', 'params_ema'])
@pytest.mark.parametrize('prefix', ['', 'module.', 'net_g.'])
def test_wrappers_and_prefixes_of_trainers_go(tmp_path, wrapper, prefix):
    state = {f'{prefix}weight': torch.ones(1)}
    torch.save({wrapper: state, 'epoch': 3}, tmp_path / 'a.pth')
    assert list(read_state_dict(tmp_path / 'a.pth')) == ['weight']


def test_nothing_is_replaced_unless_asked(tmp_path):
    path = tmp_path / 'a.pth'
    write_state_dict(path, {'a': torch.zeros(1)})
    with pytest.raises(UserError, match='exists'):
        write_state_dict(path, STATE)
    assert list(read_state_dict(path)) == ['a']
    write_state_dict(path, STATE, overwrite=True)
    assert list(read_state_dict(path)) == list(STATE)
    with pytest.raises(CheckpointError, match=r"suffix '\.bin' is unknown"):
        write_state_dict(tmp_path / 'a.bin', STATE)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'does not exist'),
        (b'', 'cannot be read'),
        (b'no weights here', 'cannot be read'),
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_damaged_files_are_named(tmp_path, content, message, suffix):
    path = tmp_path / f'bad{suffix}'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f'bad{suffix}.*{message}'):
        read_state_dict(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [({}, 'no state dict'), ([1], 'no state dict'), ({'a': 1}, "entry 'a' is int")],
)
def test_files_of_something_else_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(tmp_path / 'other.pth')


def test_code_in_a_weight_file_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / 'ran'), 'w'))

    torch.save({'params': Bomb()}, tmp_path / 'bomb.pth')
    with pytest.raises(CheckpointError, match='nothing but weights'):
        read_state_dict(tmp_path / 'bomb.pth')
    assert not (tmp_path / 'ran').exists()


def test_url_is_refused():
    with pytest.raises(CheckpointError, match='is a URL'):
        read_state_dict('https://example.org/weights.pth')


@pytest.mark.parametrize('text', [b'\xff', b'[1]', b'{'])
def test_arguments_that_are_no_json_object_are_refused(text):
    with pytest.raises(CheckpointError, match=EXTRA_STATE):
        decode_config(torch.tensor(list(text), dtype=torch.uint8))
