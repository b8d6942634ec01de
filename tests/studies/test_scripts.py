"""Every study starts, and every command that a page or the Makefile names exists."""

import argparse
import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    path.stem: path.read_text(encoding='utf-8')
    for path in sorted((ROOT / 'studies').glob('*.py'))
    if "__name__ == '__main__'" in path.read_text(encoding='utf-8')
}
PAGES = [*(ROOT / 'docs').rglob('*.md'), ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']


class Parsed(Exception):
    """The options of a script were understood."""


def commands():
    """Script and arguments of each command in a page or in a script's own head."""
    texts = [page.read_text(encoding='utf-8') for page in PAGES] + [*SCRIPTS.values()]
    recipes = subprocess.run(
        ['make', '-n', '-B', 'weights', 'weights-prior', 'weights-rankiqa'],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    whole = '\n'.join([*texts, recipes.stdout]).replace('\\\n', ' ')
    found = re.findall(r'python studies/(\w+)\.py\b([^\n`]*)', whole)
    return sorted({(name, rest.strip(' []')) for name, rest in found})


@pytest.mark.parametrize('name', SCRIPTS)
def test_a_script_says_its_options(name, capsys):
    with pytest.raises(SystemExit) as ended:
        import_module(name).main(['--help'])
    assert ended.value.code == 0
    first = SCRIPTS[name].partition('"""')[2].splitlines()[0]
    assert ' '.join(first.split()[:3]) in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize(('name', 'arguments'), commands())
def test_a_command_of_a_page_is_understood(name, arguments, monkeypatch):
    assert name in SCRIPTS
    understood = argparse.ArgumentParser.parse_args

    def parse(parser, given=None):
        raise Parsed(understood(parser, given))

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse)
    given = shlex.split(arguments.replace('[', '').replace(']', ''), comments=True)
    with pytest.raises(Parsed):
        import_module(name).main(given)


def test_the_list_of_studies_is_complete():
    listed = (ROOT / 'studies' / 'README.md').read_text(encoding='utf-8')
    assert set(re.findall(r'^\| `(\w+)\.py`', listed, re.MULTILINE)) == set(SCRIPTS)
