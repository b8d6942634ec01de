"""What a release says of itself is the same everywhere."""

import re
import tomllib
from pathlib import Path

import yaml

import metaiqa_plugin

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def test_the_version_is_that_of_the_changelog_and_the_citation():
    newest = re.search(r'^## ([\d.]+)', (ROOT / 'CHANGELOG.md').read_text(), re.M)
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert newest[1] == citation['version'] == metaiqa_plugin.__version__


def test_every_dependency_is_in_the_list_of_licences():
    extras = PROJECT['optional-dependencies'].values()
    needed = [*PROJECT['dependencies'], *(name for extra in extras for name in extra)]
    names = {re.match(r'[\w-]+', name)[0] for name in needed}
    listed = (ROOT / 'THIRD_PARTY.md').read_text().partition('## What is installed')[2]
    assert names - set(re.findall(r'[\w-]+', listed)) == set()


def test_everything_beside_code_in_the_package_is_shipped():
    """Packages have their modules; whatever else is tracked needs a pattern."""
    text = (ROOT / 'pyproject.toml').read_text()
    patterns = tomllib.loads(text)['tool']['setuptools']['package-data']
    package = ROOT / 'metaiqa_plugin'
    shipped = {
        path for glob in patterns['metaiqa_plugin'] for path in package.glob(glob)
    }
    found = {
        path
        for path in package.rglob('*')
        if path.is_file() and path.suffix not in ('.py', '.pyc')
    }
    assert sorted(found - shipped) == []
