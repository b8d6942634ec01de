"""The command in a process of its own, a browser, and files of every kind."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb

PATIENCE = 90
LAUNCHER = Path(__file__).with_name('launcher.py')


@pytest.fixture(scope='session')
def nine(tmp_path_factory, photos):
    """Paths of nine photos of 96x64 pixels, some distorted, in order of name."""
    folder = tmp_path_factory.mktemp('nine')
    for number, path in enumerate(photos[:9]):
        small = read_rgb(path).resize((96, 64))
        if number % 3:
            small = distort(small, 'gaussian_blur', 2 * (number % 3), 0)
        small.save(folder / f'photo {number}.png')
    return sorted(folder.iterdir())


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory, nine):
    """An untrained network that runs in milliseconds; scores are spread around 0.5."""
    torch.manual_seed(0)
    network = MetaIQA('test_efficientnet', pretrained=False, input_size=64, hidden=16)
    last = network.head[3]
    with torch.no_grad():
        last.weight *= 3000
        last.bias.zero_()
        pixels = [to_tensor(read_rgb(path)).unsqueeze(0) for path in nine]
        scores = network.eval().double()(torch.cat(pixels).double())
        last.bias -= torch.logit(scores).mean()
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.safetensors'
    write_state_dict(path, network.float().state_dict())
    return path


@pytest.fixture(scope='session')
def odd_files(tmp_path_factory):
    """Files that are not photos to score, each wrong in its own way."""
    folder = tmp_path_factory.mktemp('odd')
    (folder / 'notes.txt').write_text('no image')
    (folder / '<b>"cut".png').write_bytes(_png(64, 64)[:60])
    Image.new('RGB', (1200, 1000)).save(folder / 'large.png')
    (folder / 'bomb.png').write_bytes(_png_of_size(30000, 30000))
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / 'heavy.png')
    return {path.name: path for path in folder.iterdir()}


def _png(width, height):
    import io

    buffer = io.BytesIO()
    Image.new('RGB', (width, height), 'red').save(buffer, 'PNG')
    return buffer.getvalue()


def _png_of_size(width, height):
    """A tiny file whose header claims a size."""
    import struct
    import zlib

    content = _png(1, 1)
    header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    crc = struct.pack('>I', zlib.crc32(header))
    return content[:12] + header + crc + content[33:]


@pytest.fixture(scope='session')
def start(tmp_path_factory):
    """Starts ``metaiqa ui`` with options on a free port; all end with the tests."""
    running = []

    def started(*options):
        folder = tmp_path_factory.mktemp('served')
        calls = folder / 'calls'
        environment = os.environ | {
            'TMPDIR': str(folder),
            'CALLS': str(calls),
            'OMP_NUM_THREADS': '1',
        }
        command = [sys.executable, str(LAUNCHER), '--port', '0', *map(str, options)]
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=(folder / 'stderr').open('w'),
            text=True,
        )
        running.append(process)
        limit = threading.Timer(PATIENCE, process.kill)
        limit.start()
        address = process.stdout.readline().split('  ')[0]
        limit.cancel()
        assert address.startswith('http://127.0.0.1:'), (folder / 'stderr').read_text()
        return SimpleNamespace(
            address=address,
            process=process,
            folder=folder,
            calls=lambda: calls.read_text().split() if calls.exists() else [],
            stderr=lambda: (folder / 'stderr').read_text(),
        )

    yield started
    for process in running:
        process.terminate()
    for process in running:
        process.wait(PATIENCE)
