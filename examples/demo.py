"""The main job, once, on what the package carries: ``make demo``.

Scores the carried photos, distorts them, meta-trains a prior on all distortion types
but one, adapts it to the one left out, and writes a results folder with tables,
pictures and a page that sums up. The option file holds the recipe.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyiqa
import torch
from matplotlib.figure import Figure
from PIL import Image

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import LabelledRow
from metaiqa_plugin.data.synthesis import Synthesis, synthesize
from metaiqa_plugin.data.versions import PSEUDO_MOS_RANGE
from metaiqa_plugin.errors import UserError, run
from metaiqa_plugin.photos import KODAK, carried_photos
from metaiqa_plugin.score import Correlation, correlate, score_network, write_table
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt
from metaiqa_plugin.train.logs import plot_run
from metaiqa_plugin.train.options import read_options

__all__ = ['main']

OPTION_FILE = Path('options/train/MetaIQA/metaiqa_demo.yml')
OUT = Path('demo-results')
MARKER = 'made-by-metaiqa-demo'
NR_METRICS = ('metaiqa', 'piqe')
FR_METRICS = ('ssim', 'gmsd')
MAX_SIDE = 320
DRAWS = 3
LABELS = 10
LABELS_PER_REFERENCE = 2


@dataclass
class Start:
    """A network before adaptation, and what it says of the unseen distortion.

    Attributes:
        name: what it was trained on.
        before, after: agreement with pseudo-MOS, one entry a draw.
        scores: predictions of the first draw, before and after.
    """

    name: str
    before: list[Correlation]
    after: list[Correlation]
    scores: tuple[np.ndarray, np.ndarray] | None = None


def main(out: Path = OUT, option_file: Path = OPTION_FILE) -> int:
    """Run all five steps; returns the exit code.

    Raises:
        UserError: not started where the option files are, or ``out`` is in use for
            something else.
    """
    started = time.monotonic()
    options = read_options(option_file)
    unseen = options['datasets']['train']['exclude_distortions'][0]
    _fresh_folder(out)
    step = _Steps(5)
    step('score the carried photos with metrics of pyiqa')
    scores = _score_photos(out)
    step('synthesise a distortion database from them')
    report = synthesize(KODAK, out / 'database', Synthesis(max_side=MAX_SIDE))
    step(f'meta-train a quality prior on every distortion but {unseen}')
    _meta_train(option_file, out)
    step(f'adapt it to {unseen} from {LABELS} labelled images')
    prior = out / 'experiments' / options['name'] / 'models' / 'net_latest.pth'
    rows = read_rows(
        DatabaseOptions(
            str(report.meta_info),
            str(out / 'database' / 'images'),
            PSEUDO_MOS_RANGE,
            keep_distortions=[unseen],
        )
    )
    crop = {key: options['datasets']['train'][key] for key in ('resize', 'crop_size')}
    starts, test_rows = _adapt_both(rows, prior, out, crop)
    step('write the results')
    _write_results(out, unseen, starts, test_rows, scores, options['name'])
    minutes = (time.monotonic() - started) / 60
    summary = _summary(unseen, starts, scores, report.images, minutes)
    (out / 'summary.md').write_text(summary, encoding='utf-8')
    print(f'\n{summary}\nResults are in {out}/.')
    return 0


class _Steps:
    def __init__(self, total: int) -> None:
        self.total, self.number = total, 0

    def __call__(self, what: str) -> None:
        self.number += 1
        print(f'\n[{self.number}/{self.total}] {what}', flush=True)


def _fresh_folder(out: Path) -> None:
    """Replace the results of an earlier demo, and nothing else."""
    if out.exists():
        if not (out / MARKER).is_file():
            raise UserError(f'{str(out)!r} exists and is no demo result; move it away')
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARKER).touch()


def _score_photos(out: Path) -> pd.DataFrame:
    """Each photo as it is and after JPEG at level 4, by every metric."""
    metrics = {name: pyiqa.create_metric(name) for name in (*NR_METRICS, *FR_METRICS)}
    table = []
    for path in carried_photos():
        photo = read_rgb(path)
        photo.thumbnail((512, 512))
        jpeg = Image.fromarray(distort(np.asarray(photo), 'jpeg', level=4))
        for version, image in (('original', photo), ('jpeg level 4', jpeg)):
            row = {'photo': path.name, 'version': version}
            row |= {name: metrics[name](image).item() for name in NR_METRICS}
            row |= {name: metrics[name](image, photo).item() for name in FR_METRICS}
            table.append(row)
            print(' '.join(_text(value) for value in row.values()), flush=True)
    frame = pd.DataFrame(table)
    write_table(out / 'photo_scores.csv', list(frame), frame.itertuples(index=False))
    return frame


def _text(value: str | float) -> str:
    return f'{value:>14}' if isinstance(value, str) else f'{value:8.4f}'


def _meta_train(option_file: Path, out: Path) -> None:
    """In a process of its own, as a user would: pyiqa sets up logging once."""
    changed = {
        'meta_info_file': f'{out}/database/meta_info_database.csv',
        'dataroot_target': f'{out}/database/images',
    }
    command = [sys.executable, '-m', 'metaiqa_plugin.train', '--root', str(out)]
    command += ['-opt', str(option_file)]
    for key, path in changed.items():
        quoted = json.dumps(path, ensure_ascii=False)
        command += ['--set', f'datasets.train.{key}={quoted}']
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if code:
        raise UserError(f'meta-training ended with code {code}; its message is above')


def _adapt_both(
    rows: Sequence[LabelledRow], prior: Path, out: Path, crop: dict[str, int]
) -> tuple[list[Start], list[LabelledRow]]:
    folder = out / 'database' / 'images'
    starts = [
        Start('meta-trained prior', [], []),
        Start('ImageNet weights only', [], []),
    ]
    first_test_rows: list[LabelledRow] = []
    for draw in range(DRAWS):
        labelled, test = _draw_labels(rows, draw)
        first_test_rows = first_test_rows or test
        paths = [folder / row.image for row in test]
        mos = [row.mos for row in test]
        given = LabelledImages(
            [folder / row.image for row in labelled], [row.mos for row in labelled]
        )
        for start in starts:
            network = _fresh_network(start, prior, draw, crop['resize'])
            label = f'{start.name}, draw {draw + 1}'
            before = score_network(network, paths, f'{label}: before')
            adapt(network, given, AdaptSettings(seed=draw, batch_size=LABELS, **crop))
            after = score_network(network, paths, f'{label}: after')
            start.before.append(correlate(before, mos))
            start.after.append(correlate(after, mos))
            start.scores = start.scores or (before, after)
    return starts, first_test_rows


def _fresh_network(start: Start, prior: Path, seed: int, size: int) -> MetaIQA:
    if start.name.startswith('meta'):
        return MetaIQA(pretrained_model_path=str(prior))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MetaIQA(pretrained='imagenet', input_size=size)


def _draw_labels(
    rows: Sequence[LabelledRow], seed: int
) -> tuple[list[LabelledRow], list[LabelledRow]]:
    """``LABELS`` rows of a few references; the test rows are of all the others."""
    generator = np.random.default_rng(seed)
    references = sorted({row.reference for row in rows})
    chosen = generator.choice(references, LABELS // LABELS_PER_REFERENCE, replace=False)
    labelled = []
    for reference in chosen:
        versions = [row for row in rows if row.reference == reference]
        picked = generator.choice(len(versions), LABELS_PER_REFERENCE, replace=False)
        labelled += [versions[index] for index in picked]
    return labelled, [row for row in rows if row.reference not in set(chosen)]


def _write_results(
    out: Path,
    unseen: str,
    starts: Sequence[Start],
    rows: Sequence[LabelledRow],
    scores: pd.DataFrame,
    name: str,
) -> None:
    columns = {
        'image': [row.image for row in rows],
        'pseudo_mos': [round(r.mos, 4) for r in rows],
    }
    for start in starts:
        for moment, values in zip(('before', 'after'), start.scores, strict=True):
            columns[f'{start.name}, {moment}'] = values.round(6)
    write_table(
        out / 'predictions.csv', list(columns), zip(*columns.values(), strict=True)
    )
    shutil.copy(plot_run(out / 'experiments' / name), out)
    _plot_scatter(pd.DataFrame(columns), unseen, out / 'scatter.png')


def _summary(
    unseen: str,
    starts: Sequence[Start],
    scores: pd.DataFrame,
    images: int,
    minutes: float,
) -> str:
    means = scores.groupby('version')[[*NR_METRICS, *FR_METRICS]].mean()
    lines = [
        '# What the demo did',
        '',
        f'{len(scores) // 2} Kodak photos, {images} distorted images with pseudo-MOS '
        f"(KADID-10k's mean opinion of each type and level), {minutes:.1f} minutes.",
        f'Images are {MAX_SIDE} pixels wide, to save time; the opinions are of 512.',
        '',
        '## Mean scores of the photos',
        '',
        '| version | ' + ' | '.join(means) + ' |',
        '|---|' + '---|' * means.shape[1],
    ]
    for version, row in means.iterrows():
        lines.append(f'| {version} | ' + ' | '.join(f'{v:.3f}' for v in row) + ' |')
    lines += [
        '',
        'Higher is better for metaiqa and ssim, lower for piqe and gmsd. ssim and gmsd '
        'compare with the original.',
        '',
        f'## Adaptation to {unseen}, a distortion that meta-training did not see',
        '',
        f'{LABELS} labelled images, mean of {DRAWS} draws (SROCC of each in brackets); '
        f'tested on the {starts[0].after[0].images} images of the other photos.',
        '',
        '| start | SROCC before | PLCC before | SROCC after | PLCC after |',
        '|---|---|---|---|---|',
    ]
    for start in starts:
        cells = []
        for results in (start.before, start.after):
            each = ', '.join(f'{result.srocc:.2f}' for result in results)
            srocc = np.mean([result.srocc for result in results])
            plcc = np.mean([result.plcc for result in results])
            cells += [f'{srocc:.3f} ({each})', f'{plcc:.3f}']
        lines.append(f'| {start.name} | ' + ' | '.join(cells) + ' |')
    lines += [
        '',
        'The head of the network with ImageNet weights is random before adaptation.',
        '',
        '![learning curve](learning_curve.png)',
        '![scatter](scatter.png)',
        '',
        'Files: photo_scores.csv, predictions.csv (first draw), database/, '
        'experiments/ (the prior, its learning curve, log and option file).',
        '',
    ]
    return '\n'.join(lines)


def _plot_scatter(table: pd.DataFrame, unseen: str, path: Path) -> None:
    """Predictions against pseudo-MOS, a panel for each start and moment.

    Args:
        table: columns ``image``, ``pseudo_mos`` (in [0, 1]), then one a panel.
        unseen: the distortion, for the title.
        path: PNG to write.
    """
    panels = [name for name in table if name not in ('image', 'pseudo_mos')]
    figure = Figure(figsize=(9, 7), layout='constrained')
    grid = figure.subplots(2, (len(panels) + 1) // 2, sharex=True, sharey=True)
    for axes, name in zip(grid.flat, panels, strict=True):
        axes.scatter(table['pseudo_mos'], table[name], s=14, alpha=0.7)
        axes.plot([0, 1], [0, 1], color='gray', linewidth=0.8, linestyle='--')
        srocc = table[['pseudo_mos', name]].corr('spearman').iloc[0, 1]
        axes.set_title(f'{name} (SROCC {srocc:.2f})', fontsize=10)
        axes.grid(alpha=0.3)
    figure.supxlabel('pseudo-MOS')
    figure.supylabel('prediction')
    figure.suptitle(f'{unseen}: images of photos without a label, first draw')
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    sys.exit(run(main))
