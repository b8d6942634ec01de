"""Rebuild the weights that ship: prior, adaptation to LIVE Challenge, card.

    python benchmarks/ship_livec.py --livec DIR [--prior FILE]

DIR holds ``Images/`` and ``meta_info_LIVEC.csv`` with pyiqa's split columns. Without
``--prior`` the prior is meta-trained first from options/train/MetaIQA/metaiqa_kodak.yml
(about 40 minutes on one core). Writes metaiqa_plugin/weights/metaiqa-livec.safetensors
and prints the figures of its card.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from metaiqa_plugin.adaptation import AdaptSettings, LabelledImages, adapt
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.checkpoint import sha256_of, write_state_dict
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.scoring import correlate, score_network

OPTION_FILE = 'options/train/MetaIQA/metaiqa_kodak.yml'
PRIOR = 'experiments/MetaIQA_kodak/models/net_latest.pth'
TARGET = 'metaiqa_plugin/weights/metaiqa-livec.safetensors'
SPLIT = 1


def labelled(root: Path, phase: str) -> LabelledImages:
    table = str(root / 'meta_info_LIVEC.csv')
    rows = read_rows(
        DatabaseOptions(table, str(root / 'Images'), (0, 100), split_index=SPLIT), phase
    )
    return LabelledImages([rows.path(i) for i in range(len(rows))], rows.mos.tolist())


def report(label: str, network: MetaIQA, test: LabelledImages) -> None:
    found = correlate(score_network(network, test.paths, label), test.mos)
    print(f'{label}: SROCC {found.srocc:.4f} PLCC {found.plcc:.4f}', flush=True)


def meta_train() -> None:
    run = [sys.executable, '-m', 'metaiqa_plugin.cli']
    photos = 'metaiqa_plugin/photos/kodak24'
    subprocess.run([*run, 'synthesize', photos, 'data/kodak', '--resume'], check=True)
    subprocess.run([*run, 'train', '-opt', OPTION_FILE, '--resume'], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--livec', type=Path, default=Path('data/LIVEC'))
    parser.add_argument('--prior')
    parser.add_argument('--out', default=TARGET)
    parser.add_argument('--steps', type=int)
    parser.add_argument('--input-size', type=int, default=352)
    parser.add_argument('--precision', default='bf16')
    parser.add_argument('--imagenet', action='store_true', help='also the control')
    options = parser.parse_args()
    train, test = labelled(options.livec, 'train'), labelled(options.livec, 'test')
    if options.prior is None:
        meta_train()
    settings = AdaptSettings(steps=options.steps, precision=options.precision)
    print(f'{len(train.paths)} images to adapt, {len(test.paths)} to test, {settings}')
    network = MetaIQA(
        pretrained_model_path=options.prior or PRIOR, input_size=options.input_size
    )
    report('prior, no label of LIVE Challenge', network, test)
    started = time.monotonic()
    adapt(network, train, settings)
    print(f'adaptation took {(time.monotonic() - started) / 60:.1f} minutes')
    report('prior, adapted', network, test)
    write_state_dict(options.out, network.state_dict(), half=True, overwrite=True)
    shipped = MetaIQA(pretrained_model_path=options.out)
    before = score_network(network, test.paths)
    after = score_network(shipped, test.paths)
    report('as shipped, float16 on disk', shipped, test)
    print(f'largest change of a score by float16: {abs(before - after).max():.6f}')
    print(f'scores on test: mean {after.mean():.3f} sd {after.std():.3f}')
    print(f'{options.out} sha256: {sha256_of(options.out)}', flush=True)
    if options.imagenet:
        torch.manual_seed(0)
        control = MetaIQA(pretrained='imagenet', input_size=options.input_size)
        adapt(control, train, settings)
        report('ImageNet only, adapted', control, test)


if __name__ == '__main__':
    main()
