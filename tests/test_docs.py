"""What the docs name exists: modules and their names, options of verbs, files."""

import importlib
import re
from pathlib import Path

import pytest

from metaiqa_plugin.cli import parser

ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / 'CHANGELOG.md'
SOURCES = [
    path
    for path in [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')]
    if path != ROOT / 'docs/results/benchmark/report.md'  # what `metaiqa report` wrote
]
CARDS = sorted(ROOT.glob('metaiqa_plugin/**/*.md'))
EVERYTHING = [
    *SOURCES,
    *CARDS,
    *ROOT.glob('metaiqa_plugin/**/*.py'),
    *ROOT.glob('options/**/*.yml'),
    *ROOT.glob('studies/*.*'),
    *ROOT.glob('examples/*.py'),
]


def named(path):
    """Where a message points: the file, as it is called in the project."""
    return path.relative_to(ROOT).as_posix()


def with_joined_lines(text):
    r"""Lines that go on after a ``\`` in one."""
    return re.sub(r'\\\n\s*', ' ', text)


def resolves(name):
    parts = name.split('.')
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module('.'.join(parts[:end]))
        except ModuleNotFoundError as error:
            if not name.startswith(error.name or '?'):
                raise  # what it imports is missing, not the module
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_every_dotted_name_can_be_imported():
    pattern = r'(?<![\w/.])metaiqa_plugin(?:\.[A-Za-z_]\w*)+'
    names = {
        (name, named(path))
        for path in EVERYTHING
        if path != CHANGELOG  # names what is gone, too
        for name in re.findall(pattern, path.read_text(encoding='utf-8'))
    }
    assert len(names) > 10
    assert [where for where in sorted(names) if not resolves(where[0])] == []


def test_every_import_of_the_docs_works():
    pattern = r'^ *from (metaiqa_plugin[\w.]*) import ([\w, ]+)$'
    names = [
        f'{module}.{name.strip()}'
        for path in [*SOURCES, *CARDS]
        for module, imported in re.findall(
            pattern, path.read_text(encoding='utf-8'), re.M
        )
        for name in imported.split(',')
    ]
    assert len(names) > 5
    assert [name for name in names if not resolves(name)] == []


def options_of_verbs():
    (verbs,) = (action for action in parser()._actions if action.choices)
    return verbs.choices


def commands(text):
    """(verb, its words) of each ``metaiqa VERB ...`` in code of a text."""
    blocks = re.findall(r'^(?: {4}|#? *)metaiqa ([a-z-]+)\b(.*)$', text, re.M)
    quoted = re.findall(r'`metaiqa ([a-z-]+)\b([^`]*)`', text)
    for verb, rest in [*blocks, *quoted]:
        yield verb, rest.split(' # ')[0].split(' | ')[0]


def test_every_option_of_a_command_is_known():
    verbs = options_of_verbs()
    unknown, seen = [], 0
    for path in EVERYTHING:
        text = with_joined_lines(path.read_text(encoding='utf-8'))
        for verb, rest in commands(text):
            if verb not in verbs:
                continue
            known = verbs[verb]._option_string_actions
            for option in re.findall(r'(?<!\S)(--?[a-z][\w-]*)', rest):
                seen += 1
                if option not in known:
                    unknown.append((named(path), verb, option))
    assert seen > 50
    assert unknown == []


def test_every_verb_of_the_docs_is_known():
    verbs = {*options_of_verbs()}
    named_verbs = {
        (verb, named(path))
        for path in [*SOURCES, *CARDS]
        for verb, _ in commands(with_joined_lines(path.read_text(encoding='utf-8')))
    }
    assert {verb for verb, _ in named_verbs} == verbs


@pytest.mark.parametrize('path', [*SOURCES, *CARDS], ids=named)
def test_every_relative_link_has_a_target(path):
    links = re.findall(r'\]\(([^)#\s]+)(?:#[^)]*)?\)', path.read_text(encoding='utf-8'))
    relative = [link for link in links if '://' not in link]
    assert [link for link in relative if not (path.parent / link).exists()] == []


def test_every_file_that_is_named_exists():
    """Paths below the folders of this project, in docs, comments and docstrings."""
    rooms = '|'.join(
        [
            'metaiqa_plugin',
            'docs',
            'options',
            'studies',
            'examples',
            'tests',
            'benchmarks',
        ]
    )
    pattern = rf'(?<![\w/.-])(?:{rooms})/[\w./-]*\w\.(?:py|md|yml|csv|jpg|png)\b'
    missing = {
        (named(path), name)
        for path in EVERYTHING
        for name in re.findall(pattern, path.read_text(encoding='utf-8'))
        if not (ROOT / name).exists() and 'NAME' not in name
    }
    assert sorted(missing) == []
