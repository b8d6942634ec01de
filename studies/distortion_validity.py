"""Measure the distortions against human opinion, by way of full-reference metrics.

    python studies/distortion_validity.py [--photos 2] [--out validity]

Three questions, each answered by rank correlation over the means of carried photos,
shrunk to KADID-10k's width:

* do the 125 (type, level) cells of KADID-10k rank as its viewers ranked them?
* do the six types of TID2013 at five levels rank as its viewers ranked them?
* do random chains rank as the product rule of their pseudo-MOS says, and would the
  minimum or the mean of the parts say it better?

A metric is not a viewer: where both disagree either may be at fault. Scores go to
`OUT/scores.csv` as they come, one row an image, and a run that was interrupted goes on
where it stopped. The tables are printed and written to `OUT/summary.md`.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyiqa
import torch
from PIL import Image
from scipy.stats import rankdata, spearmanr
from tqdm import tqdm

from metaiqa_plugin.data.distortions import (
    DISTORTIONS,
    KADID10K,
    LEVELS,
    chain_parts,
    distort,
    seed_key,
)
from metaiqa_plugin.data.versions import pseudo_mos

PHOTOS = ('05', '23', '15', '08', '13', '20')
WIDTH = 512
METRICS = (
    'psnr',
    'psnry',
    'ssim',
    'ms_ssim',
    'cw_ssim',
    'fsim',
    'vsi',
    'gmsd',
    'nlpd',
    'vif',
    'mdsi',
)
TUNED = ('denoise', 'high_sharpen', 'color_quantization')
CHAINS = 60
CHAIN_SEED = 20130
RESAMPLES = 2000
WORST = 12


@dataclass(frozen=True)
class Cell:
    """One kind of distorted image: the group it is judged in, what was done."""

    group: str
    name: str
    level: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.group, self.name, f'{self.level:g}'


def main() -> None:
    """Score what is not scored yet, then print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--photos', type=int, default=2, help=f'1 to {len(PHOTOS)}')
    parser.add_argument('--out', type=Path, default=Path('validity'), help='folder')
    parser.add_argument('--threads', type=int, default=1, help='of torch and OpenCV')
    arguments = parser.parse_args()
    if not 1 <= arguments.photos <= len(PHOTOS):
        parser.error(f'--photos must be from 1 to {len(PHOTOS)}')
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    metrics, missing = build_metrics()
    photos = PHOTOS[: arguments.photos]
    scores = arguments.out / 'scores.csv'
    score_all(scores, photos, metrics)
    table = read_means(scores, photos, metrics)
    summary = '\n'.join(summarize(table, list(metrics), missing))
    (arguments.out / 'summary.md').write_text(summary, encoding='utf-8')
    print(summary)


def build_metrics() -> tuple[dict[str, Callable], list[str]]:
    """Return the metrics that build without a download, and the names of others."""
    os.environ['HF_HUB_OFFLINE'] = '1'
    built, missing = {}, []
    for name in METRICS:
        try:
            built[name] = pyiqa.create_metric(name, device='cpu')
        except Exception:
            missing.append(name)
    return built, missing


def all_cells() -> list[Cell]:
    """Return KADID-10k's cells, TID2013's, then the chains, always the same."""
    cells = [Cell('kadid10k', n, lv) for n in KADID10K for lv in LEVELS]
    others = [name for name in DISTORTIONS if name not in KADID10K]
    cells += [Cell('tid2013', name, level) for name in others for level in LEVELS]
    return cells + list(random_chains())


def random_chains() -> Iterator[Cell]:
    """Yield chains of two and of three of KADID-10k's types, at any level."""
    generator = np.random.default_rng(CHAIN_SEED)
    for number in range(CHAINS):
        parts = generator.choice(KADID10K, size=2 + number % 2, replace=False)
        yield Cell('chain', '+'.join(parts), round(generator.uniform(1, 5), 2))


def score_all(path: Path, photos: Sequence[str], metrics: dict[str, Callable]) -> None:
    """Append the scores that are missing to the csv."""
    header = ['photo', 'group', 'name', 'level', *metrics]
    done = finished_keys(path, header)
    jobs = [(photo, cell) for photo in photos for cell in all_cells()]
    jobs = [(photo, cell) for photo, cell in jobs if (photo, *cell.key) not in done]
    references = {photo: load_photo(photo) for photo in photos}
    with path.open('a', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        if not file.tell():
            writer.writerow(header)
        for photo, cell in tqdm(jobs, unit='image', desc='score'):
            values = score(references[photo], photo, cell, metrics)
            writer.writerow([photo, *cell.key, *(f'{value:.6f}' for value in values)])
            file.flush()


def finished_keys(path: Path, header: list[str]) -> set[tuple[str, ...]]:
    """Return what the csv holds; one of other metrics is refused, a torn end cut."""
    if not path.exists():
        return set()
    lines = path.read_text(encoding='utf-8').splitlines(keepends=True)
    whole = [line for line in lines if line.endswith('\n')]
    path.write_text(''.join(whole), encoding='utf-8')
    rows = list(csv.reader(whole))
    if not rows:
        return set()
    if rows[0] != header:
        raise SystemExit(f'{path} holds other metrics: {rows[0]}; choose another --out')
    return {tuple(row[:4]) for row in rows[1:]}


def load_photo(name: str) -> np.ndarray:
    """Return a carried photo, shrunk so that its longer side is `WIDTH`."""
    folder = resources.files('metaiqa_plugin') / 'photos' / 'kodak24'
    with (folder / f'{name}.webp').open('rb') as file, Image.open(file) as photo:
        photo = photo.convert('RGB')
        scale = WIDTH / max(photo.size)
        size = tuple(round(side * scale) for side in photo.size)
        return np.asarray(photo.resize(size, Image.Resampling.LANCZOS))


def score(
    reference: np.ndarray, photo: str, cell: Cell, metrics: dict[str, Callable]
) -> list[float]:
    """Return the metrics of a photo's distorted version, higher meaning better."""
    key = (int(photo), *seed_key(cell.name, cell.level))
    rng = np.random.default_rng(key)
    distorted = as_tensor(distort(reference, cell.name, cell.level, rng))
    original = as_tensor(reference)
    with torch.no_grad():
        return [
            (-1 if metric.lower_better else 1) * float(metric(distorted, original))
            for metric in metrics.values()
        ]


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """Return uint8 (H, W, 3) as float32 (1, 3, H, W) on [0, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def read_means(
    path: Path, photos: Sequence[str], metrics: dict[str, Callable]
) -> pd.DataFrame:
    """Return one row a cell: the means over the photos, and what people said."""
    table = pd.read_csv(path, dtype={'photo': str})
    table = table[table['photo'].isin(photos)]
    keys = ['group', 'name', 'level']
    means = table.groupby(keys, sort=False, as_index=False)[list(metrics)].mean()
    cells = zip(means['name'], means['level'], strict=True)
    means['human'] = [pseudo_mos(name, level) for name, level in cells]
    return means


def summarize(
    table: pd.DataFrame, metrics: list[str], missing: list[str]
) -> Iterator[str]:
    """Yield the lines of the tables, in Markdown."""
    yield f'Not built here: {", ".join(missing) or "none"}.\n'
    groups = dict(iter(table.groupby('group', sort=False)))
    kadid = groups['kadid10k']
    untuned = kadid[~kadid['name'].isin(TUNED)]
    yield '## KADID-10k: 125 cells\n'
    yield '| metric | 125 cells | 110 cells | median of types | of 22 types |'
    yield '|---|---|---|---|---|'
    for metric in [*metrics, 'consensus']:
        cells = (over_cells(part, metrics, metric) for part in (kadid, untuned))
        types = (over_types(part, metrics, metric) for part in (kadid, untuned))
        yield line(metric, *cells, *types)
    yield '\n## KADID-10k by type: levels ranked as by viewers\n'
    yield from by_type(kadid, metrics)
    yield '\n## KADID-10k: ranks that disagree most\n'
    yield from worst_cells(kadid, metrics)
    yield '\n## TID2013: six types\n'
    yield '| metric | 30 cells | median of types |'
    yield '|---|---|---|'
    for metric in [*metrics, 'consensus']:
        tid = groups['tid2013']
        yield line(
            metric, over_cells(tid, metrics, metric), over_types(tid, metrics, metric)
        )
    yield ''
    yield from by_type(groups['tid2013'], metrics)
    yield '\n## Chains: rules for their pseudo-MOS\n'
    yield from rules(groups['chain'], metrics)


def line(*values: object) -> str:
    """Return a row of a table; floats with three digits."""
    shown = (f'{v:.3f}' if isinstance(v, float) else str(v) for v in values)
    return f'| {" | ".join(shown)} |'


def judged(cells: pd.DataFrame, metrics: list[str], metric: str) -> np.ndarray:
    """Return the scores of the cells by a metric, or their mean rank by all."""
    if metric != 'consensus':
        return cells[metric].to_numpy()
    return np.mean([rankdata(cells[name]) for name in metrics], axis=0)


def over_cells(cells: pd.DataFrame, metrics: list[str], metric: str) -> float:
    """Return the rank correlation with people over all cells."""
    return correlation(judged(cells, metrics, metric), cells['human'])


def over_types(cells: pd.DataFrame, metrics: list[str], metric: str) -> float:
    """Return the median over types of the rank correlation over their levels."""
    scores = judged(cells, metrics, metric)
    each = [
        correlation(scores[(cells['name'] == name).to_numpy()], own['human'])
        for name, own in cells.groupby('name', sort=False)
    ]
    return float(np.median(each))


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation."""
    return float(spearmanr(first, second).statistic)


def by_type(cells: pd.DataFrame, metrics: list[str]) -> Iterator[str]:
    """Yield, for each type, the consensus' correlation over its five levels."""
    yield '| type | consensus | least metric | of |'
    yield '|---|---|---|---|'
    scores = judged(cells, metrics, 'consensus')
    for name, own in cells.groupby('name', sort=False):
        here = (cells['name'] == name).to_numpy()
        overall = correlation(scores[here], own['human'])
        each = {metric: correlation(own[metric], own['human']) for metric in metrics}
        least = min(each, key=each.get)
        yield line(name, overall, each[least], least)


def worst_cells(cells: pd.DataFrame, metrics: list[str]) -> Iterator[str]:
    """Yield the cells whose rank by the metrics is farthest from that by people."""
    by_metrics = rankdata(judged(cells, metrics, 'consensus'))
    by_people = rankdata(cells['human'])
    yield '| cell | mean MOS | rank by people | rank by metrics | why |'
    yield '|---|---|---|---|---|'
    for place in np.argsort(-np.abs(by_metrics - by_people), kind='stable')[:WORST]:
        cell = cells.iloc[place]
        name = f'{cell["name"]} {cell["level"]:g}'
        ranks = f'{by_people[place]:.0f}', f'{by_metrics[place]:.0f}'
        yield line(name, f'{cell["human"]:.2f}', *ranks, '')


def rules(chains: pd.DataFrame, metrics: list[str]) -> Iterator[str]:
    """Yield the correlation of each rule with each metric, over the chains."""
    parts = [
        [pseudo_mos(kind.name, level) for kind in chain_parts(name)]
        for name, level in zip(chains['name'], chains['level'], strict=True)
    ]
    said = {
        'product': chains['human'],
        'minimum': [min(scores) for scores in parts],
        'mean': [float(np.mean(scores)) for scores in parts],
    }
    yield line('metric', *said)
    yield '|---|---|---|---|'
    for metric in [*metrics, 'consensus']:
        scores = judged(chains, metrics, metric)
        yield line(metric, *(correlation(scores, rule) for rule in said.values()))
    consensus = judged(chains, metrics, 'consensus')
    for other in ('minimum', 'mean'):
        error = error_of_difference(consensus, said['product'], said[other])
        yield f'\nStandard error of product - {other}: {error:.3f}'


def error_of_difference(
    scores: np.ndarray, first: Sequence[float], second: Sequence[float]
) -> float:
    """Return the standard error of the difference of two correlations, by bootstrap."""
    generator = np.random.default_rng(0)
    first, second = np.asarray(first), np.asarray(second)
    drawn = generator.integers(len(scores), size=(RESAMPLES, len(scores)))
    differences = [
        correlation(scores[own], first[own]) - correlation(scores[own], second[own])
        for own in drawn
    ]
    return float(np.std(differences))


if __name__ == '__main__':
    main()
