"""Shared fixtures: real photos that the package carries, and a tiny backbone."""

import logging
import os
import shutil
from pathlib import Path

import hypothesis
import pytest
import torch
from playwright.sync_api import sync_playwright
from published_layouts import published  # noqa: F401
from pyiqa.utils.logger import initialized_logger

import metaiqa_plugin
from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.score import engines

if 'PYTEST_XDIST_WORKER' in os.environ:
    # test processes share the cores, and OpenMP's threads would wait for each other
    os.environ['OMP_NUM_THREADS'] = '1'
    torch.set_num_threads(1)
hypothesis.settings.register_profile('repeatable', deadline=None, derandomize=True)
hypothesis.settings.load_profile('repeatable')

PHOTOS = Path(metaiqa_plugin.__file__).parent / 'photos' / 'kodak24'
TINY = 'test_efficientnet'
CHROMIUM = (
    '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run '
    '--disable-background-networking --disable-component-update --disable-sync'
).split()


@pytest.fixture(autouse=True)
def no_log_of_another_test():
    """pyiqa's logger would go on writing to streams that pytest has closed."""
    yield
    log = logging.getLogger('pyiqa')
    for handler in [*log.handlers]:
        log.removeHandler(handler)
        handler.close()
    initialized_logger.clear()


@pytest.fixture(autouse=True)
def torch_computes(monkeypatch):
    """Unless a test asks for an engine: OpenVINO takes a second to take a network."""
    monkeypatch.setattr(engines, 'fastest', engines.TorchEngine)


@pytest.fixture(scope='session')
def browser():
    """Chromium; one for all tests, because Playwright takes no second one."""
    path = os.environ.get('CHROMIUM') or shutil.which('chromium')
    if path is None:
        pytest.fail('no Chromium: apt-get install chromium, or set CHROMIUM')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope='session')
def photos():
    """Paths of the 24 carried photos."""
    return sorted(PHOTOS.glob('*.webp'))


@pytest.fixture(scope='session')
def small_photos(tmp_path_factory, photos):
    """A folder of six carried photos, shrunk to 96x64."""
    folder = tmp_path_factory.mktemp('photos')
    for path in photos[:6]:
        read_rgb(path).resize((96, 64)).save(folder / f'{path.stem}.png')
    return folder


@pytest.fixture
def tiny_network():
    """An untrained network of 64x64 inputs that runs in milliseconds."""
    torch.manual_seed(0)
    return MetaIQA(TINY, pretrained=False, input_size=64, hidden=16).eval()


@pytest.fixture
def checkpoint(tmp_path, tiny_network):
    """Path of a file of that network."""
    path = tmp_path / 'tiny.safetensors'
    write_state_dict(path, tiny_network.state_dict())
    return str(path)


@pytest.fixture(scope='session')
def database(tmp_path_factory, small_photos):
    """A synthetic database of six small photos, three types, five levels."""
    from metaiqa_plugin.data.synthesis import Synthesis, synthesize

    out = tmp_path_factory.mktemp('synthetic') / 'small'
    types = ('gaussian_blur', 'jpeg', 'white_noise')
    synthesize(
        small_photos, out, Synthesis(distortions=types), processes=1, progress=False
    )
    return out
