"""What option files may say: plain values, read as YAML 1.2 and run by nobody."""

import io
import math
from pathlib import Path

import pytest
import yaml
from pyiqa.utils.options import ordered_yaml

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.option_yaml import dump, parse

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted((ROOT / 'options' / 'train').rglob('*.yml'))
BOMB = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]\n' for i in range(1, 9)
)


def read(text):
    return parse(text, "-opt 'a.yml'")


def error_of(text):
    with pytest.raises(UserError) as caught:
        read(text)
    message = str(caught.value)
    assert '\n' not in message
    assert len(message) < 200
    return message


@pytest.mark.parametrize(
    ('text', 'number'),
    [
        ('3e-4', 3e-4),
        ('1e-3', 1e-3),
        ('1E5', 1e5),
        ('-1.5e3', -1.5e3),
        ('+.5e-2', 5e-3),
        ('2.e+1', 20.0),
        ('!!float 3e-4', 3e-4),
        ('!!float 1', 1.0),
        ('1.0e-4', 1e-4),
        ('10', 10),
        ('.5', 0.5),
        ('-.inf', -math.inf),
    ],
)
def test_numbers(text, number):
    value = read(f'a: {text}')['a']
    assert type(value) is type(number)
    assert value == number


@pytest.mark.parametrize(
    'text', ['e5', '1e', '1e5x', "'3e-4'", '"1E5"', '1.2.3', '1e-', '.e5', '1e5.0']
)
def test_text(text):
    assert read(f'a: {text}')['a'] == text.strip('\'"')


def test_order_is_that_of_the_file():
    keys = [f'{7 * place % 31}k' for place in range(31)]
    assert list(read('\n'.join(f'{key}: 1' for key in keys))) == keys


def test_aliases_and_merges_still_work():
    text = 'a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *a, z: 4}\nd: [*a, *a]'
    value = read(text)
    assert value['b'] == {'x': 3, 'y': 2}
    assert value['c'] == {'x': 1, 'y': 2, 'z': 4}
    assert value['d'] == [{'x': 1, 'y': 2}] * 2


def test_no_text_is_no_value():
    assert read('') is None


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_is_to_pyiqa_what_it_is_to_us(path):
    text = path.read_text()
    assert read(text) == yaml.load(text, Loader=ordered_yaml()[0])


@pytest.mark.parametrize(
    'tag',
    [
        '!!python/object/apply:os.system ["touch {}"]',
        '!!python/object/apply:subprocess.check_call [["touch", {}]]',
        '!!python/object/new:os.system ["touch {}"]',
        '!!python/name:os.system',
        '!!python/tuple [1, 2]',
        '!mine 3',
    ],
)
def test_a_tag_builds_nothing(tag, tmp_path):
    marker = tmp_path / 'marker'
    message = error_of('name: x\nb: ' + tag.format(marker))
    assert message.startswith("-opt 'a.yml', line 2: tag '!")
    assert not marker.exists()


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('a: 1\nb: [1', 'line 2: '),
        ('a: 1\nb: *c', "line 2: found undefined alias 'c'"),
        ('a: 1\nb: !!float x', "line 2: 'x' is not a valid float"),
        ('a: !!bool x', "line 1: 'x' is not a valid bool"),
        ('a: !!timestamp x', "line 1: 'x' is not a valid timestamp"),
        ('a: 2020-99-99', 'line 1: '),
        ('a: 1\n\nb: \x07', r"line 3: character '\x07' is not allowed in YAML"),
        ('a: 1\nb: 2\na: 3', "line 3: key 'a' is in line 1 already"),
        ('x:\n  lr: 1\n  "lr": 2', "line 3: key 'lr' is in line 2 already"),
        ('a: &a [*a]', 'line 1: an alias contains itself'),
        ('a: &a {b: *a}', 'line 1: an alias contains itself'),
        (BOMB, 'more than 100000 values'),
        ('[' * 3000, 'nested too deeply'),
        ('a: 1\n--- \nb: 2', 'line 2: '),
        ('[a]: 1', 'line 1: '),
    ],
    ids=lambda value: value[:20],
)
def test_a_fault_is_one_line(text, reason):
    message = error_of(text)
    assert message.startswith("-opt 'a.yml'")
    assert reason in message


def test_merges_are_counted_too():
    error_of(
        'a0: &a0 {'
        + ', '.join(f'k{i}: 1' for i in range(10))
        + '}\n'
        + ''.join(
            f'a{i}: &a{i} {{<<: [{", ".join([f"*a{i - 1}"] * 10)}]}}\n'
            for i in range(1, 9)
        )
    )


def test_what_is_written_is_read_back_here_and_by_pyiqa():
    value = {'b': '1e5', 'a': 1e-5, 'c': ['3e-4', 3e-4, None], 'd': {'ü': '1E5'}}
    text = dump(value)
    assert list(read(text)) == list(value)
    assert read(text) == value
    assert yaml.load(io.StringIO(text), Loader=ordered_yaml()[0]) == value
