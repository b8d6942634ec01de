"""The whole workflow on the data in the package: ``python examples/demo.py``.

Scores the photos, distorts them, meta-trains a prior on all distortion types
except one, adapts it to the one left out, and writes ``demo-results`` with tables,
pictures and a page that sums up. The option file holds the recipe; ``--set`` changes
it, e.g. ``--set train.total_epoch=20``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyiqa
import torch
from matplotlib.figure import Figure
from PIL import Image

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.cli.common import add_set
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb, walk_images
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.synthesis import Synthesis, synthesize
from metaiqa_plugin.data.versions import PSEUDO_MOS_RANGE
from metaiqa_plugin.errors import UserError, run
from metaiqa_plugin.photos import KODAK
from metaiqa_plugin.score import correlate, score_network
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt
from metaiqa_plugin.train.logs import plot_run
from metaiqa_plugin.train.options import changed, read_options
from metaiqa_plugin.train.run import train

OPTION_FILE = Path('options/train/MetaIQA/metaiqa_demo.yml')
OUT = Path('demo-results')
MARKER = 'made-by-metaiqa-demo'
NR_METRICS = ('metaiqa', 'piqe')
FR_METRICS = ('ssim', 'gmsd')
MAX_SIDE = 320
DRAWS = 3
ADAPT_STEPS = 30
LABELS = 10
LABELS_PER_REFERENCE = 2
PRIOR, IMAGENET = 'meta-trained prior', 'ImageNet weights only'

SUMMARY = """# What the demo did

{photos} Kodak photos, {images} distorted images with pseudo-MOS (KADID-10k's mean \
opinion of each type and level), {minutes:.1f} minutes.
Images are {side} pixels wide, to save time; the opinions are of 512.

## Mean scores of the photos

{means}

Higher is better for metaiqa and ssim, lower for piqe and gmsd. ssim and gmsd compare \
with the original.

## Adaptation to {unseen}, a distortion that meta-training did not see

{labels} labelled images, mean of {draws} draws (SROCC of each in brackets); tested on \
the {tested} images of the other photos.

{agreement}

The head of the network with ImageNet weights is random before adaptation.

![learning curve](learning_curve.png)
![scatter](scatter.png)

Files: photo_scores.csv, predictions.csv (first draw), database/, experiments/ (the \
prior, its learning curve, log and option file).
"""


def main(out: Path = OUT, changes: Mapping[str, Any] | None = None) -> int:
    """Run all five steps; returns the exit code.

    Raises:
        UserError: not started where the option files are, or ``out`` is in use for
            something else.
    """
    started = time.monotonic()
    options = changed(read_options(OPTION_FILE), changes or {}, '--set')
    block = options['datasets']['train']
    (unseen,) = block['exclude_distortions']
    fresh_folder(out)

    print('\n[1/5] score the photos in the package with metrics of pyiqa', flush=True)
    photos = score_photos()
    photos.to_csv(out / 'photo_scores.csv', index=False)

    print('\n[2/5] synthesise a distortion database from them', flush=True)
    report = synthesize(KODAK, out / 'database', Synthesis(max_side=MAX_SIDE))
    block['meta_info_file'] = str(report.meta_info)
    block['dataroot_target'] = str(out / 'database' / 'images')

    print(f'\n[3/5] meta-train a prior on all distortions except {unseen}', flush=True)
    train(options, out)
    experiment = out / 'experiments' / options['name']

    print(f'\n[4/5] adapt it to {unseen} from {LABELS} labelled images', flush=True)
    labels = read_rows(
        DatabaseOptions(
            block['meta_info_file'],
            block['dataroot_target'],
            PSEUDO_MOS_RANGE,
            keep_distortions=[unseen],
        )
    )
    table = pd.DataFrame(list(labels))[['image', 'mos', 'reference']]
    table = table.rename(columns={'mos': 'pseudo_mos'})
    table['path'] = [out / 'database' / 'images' / name for name in table.image]
    prior = experiment / 'models' / 'net_latest.pth'
    predictions = [predict(table, draw, prior, block) for draw in range(DRAWS)]

    print('\n[5/5] write the results', flush=True)
    first = predictions[0].drop(columns=['path', 'reference'])
    first.round(6).to_csv(out / 'predictions.csv', index=False)
    plot_scatter(first, unseen, out / 'scatter.png')
    shutil.copy(plot_run(experiment), out)
    metrics = [*NR_METRICS, *FR_METRICS]
    summary = SUMMARY.format(
        photos=photos.photo.nunique(),
        images=report.images,
        minutes=(time.monotonic() - started) / 60,
        side=MAX_SIDE,
        means=markdown(photos.groupby('version')[metrics].mean().map('{:.3f}'.format)),
        unseen=unseen,
        labels=LABELS,
        draws=DRAWS,
        tested=len(first),
        agreement=markdown(agreement(predictions)),
    )
    (out / 'summary.md').write_text(summary, encoding='utf-8')
    print(f'\n{summary}\nResults are in {out}/.')
    return 0


def fresh_folder(out: Path) -> None:
    """Replace the results of an earlier demo, and nothing else."""
    if out.exists():
        if not (out / MARKER).is_file():
            raise UserError(
                f'{str(out)!r} exists and is not a demo result; move it away'
            )
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARKER).touch()


def score_photos() -> pd.DataFrame:
    """Each photo as it is and after JPEG at level 4, by every metric."""
    metrics = {name: pyiqa.create_metric(name) for name in (*NR_METRICS, *FR_METRICS)}
    rows = []
    for path in (KODAK / name for name in walk_images(KODAK, 'photos')):
        photo = read_rgb(path)
        photo.thumbnail((512, 512))
        jpeg = Image.fromarray(distort(np.asarray(photo), 'jpeg', level=4))
        for version, image in (('original', photo), ('jpeg level 4', jpeg)):
            row = {'photo': path.name, 'version': version}
            row |= {name: metrics[name](image).item() for name in NR_METRICS}
            row |= {name: metrics[name](image, photo).item() for name in FR_METRICS}
            rows.append(row)
            print(*row.values(), flush=True)
    return pd.DataFrame(rows)


def predict(
    table: pd.DataFrame, draw: int, prior: Path, block: Mapping[str, Any]
) -> pd.DataFrame:
    """The images to test on, with predictions of both networks before and after.

    Args:
        table: columns image, pseudo_mos in [0, 1], reference, path.
        draw: seed of the labelled images, and of the random head.
        prior: the meta-trained weights.
        block: says how images are resized and cropped.
    """
    labelled, test = draw_labels(table, draw)
    given = LabelledImages(labelled.path.tolist(), labelled.pseudo_mos.tolist())
    settings = AdaptSettings(
        steps=ADAPT_STEPS,  # of the whole network: another distortion, a weak prior
        seed=draw,
        batch_size=LABELS,
        resize=block['resize'],
        crop_size=block['crop_size'],
    )
    with torch.random.fork_rng():
        torch.manual_seed(draw)
        imagenet = MetaIQA(pretrained='imagenet', input_size=block['resize'])
    meta_trained = MetaIQA(pretrained_model_path=str(prior))
    for name, network in ((PRIOR, meta_trained), (IMAGENET, imagenet)):
        label = f'{name}, draw {draw + 1}'
        test[f'{name}, before'] = score_network(network, test.path, f'{label}: before')
        adapt(network, given, settings)
        test[f'{name}, after'] = score_network(network, test.path, f'{label}: after')
    return test


def draw_labels(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``LABELS`` rows of a few references; the test rows are of all the others."""
    generator = np.random.default_rng(seed)
    references = sorted(set(table.reference))
    chosen = generator.choice(references, LABELS // LABELS_PER_REFERENCE, replace=False)
    labelled = []
    for reference in chosen:
        versions = table[table.reference == reference]
        picked = generator.choice(len(versions), LABELS_PER_REFERENCE, replace=False)
        labelled.append(versions.iloc[picked])
    return pd.concat(labelled), table[~table.reference.isin(chosen)].copy()


def agreement(predictions: list[pd.DataFrame]) -> pd.DataFrame:
    """Correlations with pseudo-MOS, means over the draws: a row per network."""
    cells: dict[str, dict[str, str]] = {}
    for moment in ('before', 'after'):
        for name in (PRIOR, IMAGENET):
            found = [
                correlate(test[f'{name}, {moment}'], test.pseudo_mos)
                for test in predictions
            ]
            each = ', '.join(f'{draw.srocc:.2f}' for draw in found)
            srocc, plcc = np.mean([(draw.srocc, draw.plcc) for draw in found], axis=0)
            cells.setdefault(f'SROCC {moment}', {})[name] = f'{srocc:.3f} ({each})'
            cells.setdefault(f'PLCC {moment}', {})[name] = f'{plcc:.3f}'
    return pd.DataFrame(cells).rename_axis('start')


def markdown(table: pd.DataFrame) -> str:
    """A table of text, with its index."""
    lines = [[table.index.name, *table], ['---'] * (table.shape[1] + 1)]
    lines += table.reset_index().to_numpy().tolist()
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def plot_scatter(table: pd.DataFrame, unseen: str, path: Path) -> None:
    """Predictions against pseudo-MOS, a panel for each network and moment.

    Args:
        table: columns image, pseudo_mos in [0, 1], then one per panel.
        unseen: the distortion, for the title.
        path: PNG to write.
    """
    figure = Figure(figsize=(9, 7), layout='constrained')
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, name in zip(grid.flat, list(table)[2:], strict=True):
        axes.scatter(table.pseudo_mos, table[name], s=14, alpha=0.7)
        axes.plot([0, 1], [0, 1], color='gray', linewidth=0.8, linestyle='--')
        srocc = correlate(table[name], table.pseudo_mos).srocc
        axes.set_title(f'{name} (SROCC {srocc:.2f})', fontsize=10)
        axes.grid(alpha=0.3)
    figure.supxlabel('pseudo-MOS')
    figure.supylabel('prediction')
    figure.suptitle(f'{unseen}: images of photos without a label, first draw')
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='The whole workflow.')
    add_set(parser)
    sys.exit(run(main, OUT, parser.parse_args().set))
