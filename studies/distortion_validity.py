"""Measure the distortions against human opinion, by way of full-reference metrics.

    python studies/distortion_validity.py [--photos 2] [--out validity]

Three questions, each answered by rank correlation over the means of carried photos,
shrunk to KADID-10k's width:

* do the 125 (type, level) cells of KADID-10k rank as its viewers ranked them?
* do the six types of TID2013 at five levels rank as its viewers ranked them?
* do random chains rank as the product rule of their pseudo-MOS says, and would the
  minimum or the mean of the parts say it better?

A metric is not a viewer: where both disagree either may be at fault. Scores go to
`OUT/scores.csv` as they come, one row per image, and a run that was interrupted goes on
where it stopped. The tables are printed and written to `OUT/summary.md`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pyiqa
import torch
from PIL import Image
from scipy.stats import rankdata
from shared import RowFile, markdown_row, tensor_of
from torch import nn
from tqdm import tqdm

from metaiqa_plugin.data.distortions import (
    DISTORTIONS,
    KADID10K,
    LEVELS,
    chain_parts,
    distort,
    seed_key,
)
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.versions import pseudo_mos
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import replacing
from metaiqa_plugin.photos import KODAK
from metaiqa_plugin.score import correlate

PHOTOS = ('05', '23', '15', '08', '13', '20')
WIDTH = 512
METRICS = 'psnr psnry ssim ms_ssim cw_ssim fsim vsi gmsd nlpd vif mdsi'.split()
CONSENSUS = 'consensus'
TUNED = ('denoise', 'high_sharpen', 'color_quantization')
CHAINS = 60
CHAIN_SEED = 20130
RESAMPLES = 2000
WORST = 12


class Cell(NamedTuple):
    """One kind of distorted image: the group it is judged in, what was done."""

    group: str
    name: str
    level: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.group, self.name, f'{self.level:g}'


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--photos', type=int, default=2, choices=range(1, 7))
    parser.add_argument('--out', type=Path, default=Path('validity'), help='folder')
    parser.add_argument('--threads', type=int, default=1, help='of torch and OpenCV')
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    metrics, missing = build_metrics()
    photos = PHOTOS[: options.photos]
    table = score_all(options.out / 'scores.csv', photos, metrics)
    means = means_of(table[table['photo'].isin(photos)], [*metrics])
    summary = '\n'.join(summarize(means, [*metrics], missing))
    with replacing(options.out / 'summary.md') as temporary:
        temporary.write_text(summary, encoding='utf-8')
    print(summary)


def build_metrics() -> tuple[dict[str, nn.Module], list[str]]:
    """The metrics that build without a download, and the names of others."""
    os.environ['HF_HUB_OFFLINE'] = '1'
    built, missing = {}, []
    for name in METRICS:
        try:
            built[name] = pyiqa.create_metric(name, device='cpu')
        except Exception:
            missing.append(name)
    return built, missing


def all_cells() -> list[Cell]:
    """KADID-10k's cells, TID2013's, then the chains, always the same."""
    cells = [Cell('kadid10k', n, lv) for n in KADID10K for lv in LEVELS]
    others = [name for name in DISTORTIONS if name not in KADID10K]
    cells += [Cell('tid2013', name, level) for name in others for level in LEVELS]
    return cells + list(random_chains())


def random_chains() -> Iterator[Cell]:
    """Chains of two and of three of KADID-10k's types, at any level."""
    generator = np.random.default_rng(CHAIN_SEED)
    for number in range(CHAINS):
        parts = generator.choice(KADID10K, size=2 + number % 2, replace=False)
        yield Cell('chain', '+'.join(parts), round(generator.uniform(1, 5), 2))


def score_all(
    path: Path, photos: Sequence[str], metrics: Mapping[str, nn.Module]
) -> pd.DataFrame:
    """The csv, with the scores that were missing: higher is better in all of them."""
    file = RowFile(path, ['photo', 'group', 'name', 'level', *metrics], keys=4)
    jobs = [(photo, cell) for photo in photos for cell in all_cells()]
    jobs = [(photo, cell) for photo, cell in jobs if (photo, *cell.key) not in file]
    references = {photo: load_photo(photo) for photo in photos}
    for photo, cell in tqdm(jobs, unit='image', desc='score'):
        values = score(references[photo], photo, cell, metrics)
        file.add([[photo, *cell.key, *(f'{value:.6f}' for value in values)]])
    return file.read().astype({'level': float})


def load_photo(name: str) -> np.ndarray:
    """A carried photo, shrunk so that its longer side is `WIDTH`."""
    photo = read_rgb(KODAK / f'{name}.webp')
    scale = WIDTH / max(photo.size)
    size = tuple(round(side * scale) for side in photo.size)
    return np.asarray(photo.resize(size, Image.Resampling.LANCZOS))


@torch.no_grad()
def score(
    reference: np.ndarray, photo: str, cell: Cell, metrics: Mapping[str, nn.Module]
) -> list[float]:
    """The metrics of a photo's distorted version, higher meaning better."""
    rng = np.random.default_rng((int(photo), *seed_key(cell.name, cell.level)))
    distorted = tensor_of(distort(reference, cell.name, cell.level, rng))
    original = tensor_of(reference)
    return [
        (-1 if metric.lower_better else 1) * float(metric(distorted, original))
        for metric in metrics.values()
    ]


def means_of(scores: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row a cell: the means over the photos, and what people said."""
    keys = ['group', 'name', 'level']
    means = scores.groupby(keys, sort=False, as_index=False)[[*metrics]].mean()
    cells = zip(means['name'], means['level'], strict=True)
    means['human'] = [pseudo_mos(name, level) for name, level in cells]
    return means


def summarize(
    table: pd.DataFrame, metrics: Sequence[str], missing: list[str]
) -> Iterator[str]:
    """The lines of the tables, in Markdown."""
    yield f'Not built here: {", ".join(missing) or "none"}.\n'
    kadid, tid, chains = (
        with_consensus(table[table['group'] == group], metrics)
        for group in ('kadid10k', 'tid2013', 'chain')
    )
    untuned = with_consensus(kadid[~kadid['name'].isin(TUNED)], metrics)
    every = [*metrics, CONSENSUS]
    parts = [over_cells(part, every) for part in (kadid, untuned)]
    parts += [over_levels(part, every).median() for part in (kadid, untuned)]
    yield '## KADID-10k: 125 cells\n'
    yield '| metric | 125 cells | 110 cells | median of types | of 22 types |'
    yield '|---|---|---|---|---|'
    yield from rows_of(parts)
    yield '\n## KADID-10k by type: levels ranked as by viewers\n'
    yield from by_type(kadid, metrics)
    yield '\n## KADID-10k: ranks that disagree most\n'
    yield from worst_cells(kadid)
    yield '\n## TID2013: six types\n'
    yield '| metric | 30 cells | median of types |'
    yield '|---|---|---|'
    yield from rows_of([over_cells(tid, every), over_levels(tid, every).median()])
    yield ''
    yield from by_type(tid, metrics)
    yield '\n## Chains: rules for their pseudo-MOS\n'
    yield from rules(chains, every)


def with_consensus(cells: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The cells with their mean rank by all metrics."""
    return cells.assign(**{CONSENSUS: cells[[*metrics]].rank().mean(axis=1)})


def over_cells(
    cells: pd.DataFrame, metrics: Sequence[str], people: str = 'human'
) -> pd.Series:
    """Each metric's rank correlation with people over all cells."""
    return cells[[*metrics]].rank().corrwith(cells[people].rank())


def over_levels(cells: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The same over the levels of each type: a row a type."""
    types = cells.groupby('name', sort=False)
    return pd.DataFrame({name: over_cells(own, metrics) for name, own in types}).T


def rows_of(columns: Sequence[pd.Series]) -> Iterator[str]:
    for metric, *values in pd.concat(columns, axis=1).itertuples():
        yield markdown_row(metric, *values)


def by_type(cells: pd.DataFrame, metrics: Sequence[str]) -> Iterator[str]:
    """For each type, the consensus' correlation over its five levels."""
    yield '| type | consensus | least metric | of |'
    yield '|---|---|---|---|'
    found = over_levels(cells, [*metrics, CONSENSUS])
    for name, row in found.iterrows():
        least = row[[*metrics]].idxmin()
        yield markdown_row(name, row[CONSENSUS], row[least], least)


def worst_cells(cells: pd.DataFrame) -> Iterator[str]:
    """The cells whose rank by the metrics is farthest from that by people."""
    by_metrics = rankdata(cells[CONSENSUS])
    by_people = rankdata(cells['human'])
    yield '| cell | mean MOS | rank by people | rank by metrics | why |'
    yield '|---|---|---|---|---|'
    for place in np.argsort(-np.abs(by_metrics - by_people), kind='stable')[:WORST]:
        cell = cells.iloc[place]
        name = f'{cell["name"]} {cell["level"]:g}'
        ranks = f'{by_people[place]:.0f}', f'{by_metrics[place]:.0f}'
        yield markdown_row(name, f'{cell["human"]:.2f}', *ranks, '')


def rules(chains: pd.DataFrame, metrics: Sequence[str]) -> Iterator[str]:
    """The correlation of each rule with each metric, over the chains."""
    parts = [
        [pseudo_mos(kind.name, level) for kind in chain_parts(name)]
        for name, level in zip(chains['name'], chains['level'], strict=True)
    ]
    said = {'product': chains['human'], 'minimum': [*map(min, parts)]}
    said['mean'] = [float(np.mean(scores)) for scores in parts]
    chains = chains.assign(**said)
    yield markdown_row('metric', *said)
    yield '|---|---|---|---|'
    yield from rows_of([over_cells(chains, metrics, rule) for rule in said])
    for other in ('minimum', 'mean'):
        error = error_of_difference(*chains[[CONSENSUS, 'product', other]].to_numpy().T)
        yield f'\nStandard error of product - {other}: {error:.3f}'


def error_of_difference(
    scores: np.ndarray, first: np.ndarray, second: np.ndarray
) -> float:
    """The standard error of the difference of two correlations, by bootstrap."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(scores), size=(RESAMPLES, len(scores)))
    differences = [
        correlate(scores[own], first[own]).srocc
        - correlate(scores[own], second[own]).srocc
        for own in drawn
    ]
    return float(np.std(differences))


if __name__ == '__main__':
    sys.exit(run(main))
