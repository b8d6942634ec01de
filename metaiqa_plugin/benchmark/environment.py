"""What an experiment ran on, and with which code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import metaiqa_plugin

__all__ = ['commit', 'environment']

PACKAGES = (
    'metaiqa_plugin',
    'pyiqa',
    'torch',
    'torchvision',
    'timm',
    'learn2learn',
    'numpy',
    'scipy',
    'scikit-learn',
    'pillow',
)


def environment() -> dict[str, str]:
    """Python, packages, processor, cores, system."""
    versions = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = 'not installed'
    machine = {
        'system': f'{platform.system()} {platform.machine()}',
        'processor': _processor(),
        'cores': str(os.cpu_count()),
    }
    return versions | machine


def commit() -> str:
    """Of the package's repository, ``+changes`` where it is not clean; else its
    version."""
    folder = Path(metaiqa_plugin.__file__).parent
    try:
        _git(folder, 'ls-files', '--error-unmatch', '__init__.py')
        found = _git(folder, 'rev-parse', 'HEAD')
        dirty = _git(folder, 'status', '--porcelain', '--untracked-files=no', '.')
    except (OSError, subprocess.CalledProcessError):
        return f'version {metadata.version("metaiqa_plugin")}'
    return found + ('+changes' if dirty else '')


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ['git', '-C', str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or 'unknown'
    names = [line.partition(':')[2].strip() for line in lines if 'model name' in line]
    return names[0] if names else platform.processor() or 'unknown'
