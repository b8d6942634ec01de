"""Do maps point at the place where a photo is distorted?

    python studies/map_localization.py --prior PRIOR.pth --livec datasets/livec \
        --bsds datasets/bsds500 [--networks prior metaiqa] [--out DIR]

Photos get blur, noise or over-exposure inside one rectangle, and each map is computed
with and without it. Photos have texture, which draws any map: what counts is the gain,
the share of the map's mass inside the rectangle with the distortion less the same share
without. Of quality maps, and of those with a sign, it is also told how often the
rectangle's mean is below that of the rest.

Rows go to `OUT/maps.csv` as they come, and a run that was interrupted goes on where it
stopped; `OUT/summary.csv` has the means. Nothing is chosen by them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw
from shared import RowFile, livec, tensor_of, write_frame
from tqdm import tqdm

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb, walk_images
from metaiqa_plugin.data.rows import LabelledRows
from metaiqa_plugin.errors import run
from metaiqa_plugin.study.explain.maps import METHODS, MapSettings, compute_map
from metaiqa_plugin.study.explain.sheet import Panel, draw_sheet
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt

SETTINGS = MapSettings(copies=4, steps=8)
NETWORKS = 'prior imagenet-0 metaiqa imagenet-1 prior-200 imagenet-200'.split()
DISTORTIONS = ('blur', 'noise', 'over-exposure')
PHOTOS = 8
"""Of each of the two collections."""
GOOD_MOS = 65
EXAMPLE_SEED = 3
LABELS = 200
KEYS = ['network', 'photo', 'distortion', 'method']
HEADER = (*KEYS, 'area', 'share_before', 'share_after')
HEADER += ('contrast_before', 'contrast_after')


def region(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W) bool: a rectangle anywhere, 15 to 35% of the area, sides up to 1 to 2."""
    height, width = size
    area, slant = rng.uniform(0.15, 0.35), np.exp(rng.uniform(-0.5, 0.5) * np.log(2))
    tall = min(round(height * np.sqrt(area) * slant), height)
    wide = min(round(width * np.sqrt(area) / slant), width)
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    mask = np.zeros(size, bool)
    mask[top : top + tall, left : left + wide] = True
    return mask


def distorted(pixels: np.ndarray, name: str, mask: np.ndarray, seed: int) -> np.ndarray:
    """(H, W, 3) uint8, changed inside the mask alone."""
    if name == 'over-exposure':
        changed = np.clip(pixels.astype(int) * 2, 0, 255).astype(np.uint8)
    else:
        kind = {'blur': ('gaussian_blur', 4), 'noise': ('white_noise', 5)}[name]
        changed = distort(pixels, *kind, np.random.default_rng(seed))
    return np.where(mask[..., None], changed, pixels)


def share_inside(values: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mass, the absolute values, inside the mask."""
    mass = np.abs(values)
    return float(mass[mask].sum() / mass.sum())


def contrast(values: np.ndarray, mask: np.ndarray) -> float:
    """Mean inside the mask less mean outside."""
    return float(values[mask].mean() - values[~mask].mean())


def chosen_photos(bsds: Path, livec: Path, count: int) -> list[Path]:
    """Evenly spaced by name, in turns: BSDS500, good LIVE Challenge test photos."""
    rows = of_livec(livec, 'test')
    good = np.flatnonzero(np.round(100 * rows.mos.astype(float), 4) >= GOOD_MOS)
    collections = (
        [bsds / name for name in walk_images(bsds, 'bsds')],
        sorted(map(rows.path, good)),
    )
    chosen = [
        [photos[place] for place in np.linspace(0, len(photos) - 1, count).astype(int)]
        for photos in collections
    ]
    return [photo for pair in zip(*chosen, strict=True) for photo in pair]


def of_livec(folder: Path, part: str) -> LabelledRows:
    return livec(folder / 'meta_info_LIVEC.csv', folder / 'Images', 1, part)


def labelled(folder: Path) -> LabelledImages:
    """The labels of the adapted networks: training photos at random."""
    rows = of_livec(folder, 'train')
    places = pd.Series(range(len(rows))).sample(LABELS, random_state=0)
    paths = [rows.path(place) for place in places]
    return LabelledImages(paths, rows.mos[places].tolist())


def network_of(name: str, prior: str, livec: Path, out: Path) -> MetaIQA:
    """A network by its name in ``NETWORKS``; adapted ones are kept in ``out``."""
    if name == 'metaiqa':
        return MetaIQA().eval()
    kept = out / f'{name}.safetensors'
    if kept.is_file():
        return MetaIQA(pretrained_model_path=str(kept)).eval()
    start, _, number = name.partition('-')
    torch.manual_seed(int(number or 0) % LABELS)
    size = MetaIQA(pretrained_model_path=prior).config.input_size
    network = (
        MetaIQA(pretrained_model_path=prior)
        if start == 'prior'
        else MetaIQA(pretrained='imagenet', input_size=size)
    )
    if number == str(LABELS):
        adapt(network, labelled(livec), AdaptSettings(seed=0))
        write_state_dict(kept, network.state_dict())
    return network.eval()


def rows(
    name: str, network: MetaIQA, photo: Path, methods: Sequence[str], seed: int
) -> Iterator[tuple]:
    """All rows of a network and a photo."""
    pixels = np.asarray(read_rgb(photo))
    rng = np.random.default_rng([2020, seed])
    masks = [region(pixels.shape[:2], rng) for _ in DISTORTIONS]
    versions = [
        distorted(pixels, *each, seed) for each in zip(DISTORTIONS, masks, strict=True)
    ]
    for method in methods:
        before, *after = (
            compute_map(method, network, tensor_of(version), SETTINGS).double().numpy()
            for version in (pixels, *versions)
        )
        for kind, mask, values in zip(DISTORTIONS, masks, after, strict=True):
            measured = [
                measure(each, mask)
                for measure in (share_inside, contrast)
                for each in (before, values)
            ]
            shown = [f'{value:.8g}' for value in measured]
            yield name, photo.name, kind, method, f'{mask.mean():.6f}', *shown


def draw_example(path: Path, name: str, network: MetaIQA, photo: Path) -> None:
    """The maps of a photo that is blurred inside a rectangle, which is outlined."""
    pixels = np.asarray(read_rgb(photo))
    mask = region(pixels.shape[:2], np.random.default_rng(EXAMPLE_SEED))
    changed = distorted(pixels, 'blur', mask, EXAMPLE_SEED)
    image = tensor_of(changed)
    panels = [
        Panel(method, compute_map(method, network, image, SETTINGS).float().numpy())
        for method in METHODS
    ]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    outlined = Image.fromarray(changed)
    corners = (columns[0], rows[0], columns[-1], rows[-1])
    ImageDraw.Draw(outlined).rectangle(corners, outline='yellow', width=3)
    with torch.inference_mode():
        before, after = (network(tensor_of(each)).item() for each in (pixels, changed))
    title = f'{name}: {before:.3f} as it was, {after:.3f} blurred in the rectangle'
    draw_sheet(path, np.asarray(outlined), panels, title, 'higher is better')


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each network, distortion and method; seeds are averaged first."""
    table = table.assign(network=table['network'].str.replace(r'-\d$', '', regex=True))
    before, after = table['contrast_before'], table['contrast_after']
    table['below_before'] = (before < 0).astype(float)
    table['below_after'] = (after < 0).astype(float)
    table['lowered'] = (after < before).astype(float)
    table['gain'] = table['share_after'] - table['share_before']
    photos = table.groupby(KEYS, sort=False).mean(numeric_only=True)
    photos['gained'] = (photos['gain'] > 0).astype(float)
    groups = photos.groupby(['network', 'distortion', 'method'], sort=False)
    columns = ['area', 'share_before', 'share_after', 'gain', 'gained']
    columns += ['below_before', 'below_after', 'lowered']
    means = groups[columns].mean()
    means.insert(0, 'photos', groups.size())
    means.insert(5, 'gain_error', groups['gain'].sem())
    means['lowered_error'] = groups['lowered'].sem()
    quality = means.index.get_level_values('method') == 'quality'
    mass = ['share_before', 'share_after', 'gain', 'gain_error', 'gained']
    means.loc[quality, mass] = np.nan
    unsigned = means.index.get_level_values('method').isin(('gradient', 'smooth'))
    means.loc[unsigned, [*columns[-3:], 'lowered_error']] = np.nan
    return means.reset_index()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--prior', required=True, help='checkpoint, meta-trained')
    parser.add_argument('--livec', type=Path, required=True)
    parser.add_argument('--bsds', type=Path, required=True)
    parser.add_argument('--networks', nargs='+', default=NETWORKS, choices=NETWORKS)
    parser.add_argument('--photos', type=int, default=PHOTOS)
    parser.add_argument('--out', type=Path, default=Path('map-localization'))
    parser.add_argument('--example', type=Path, help='photo to draw maps of, no more')
    options = parser.parse_args(arguments)
    photos = chosen_photos(options.bsds, options.livec, options.photos)
    networks = {
        name: network_of(name, options.prior, options.livec, options.out)
        for name in options.networks
    }
    if options.example:
        for name, network in networks.items():
            picture = options.out / f'maps-{name}.jpg'
            draw_example(picture, name, network, options.example)
        return
    file = RowFile(options.out / 'maps.csv', HEADER, keys=2)
    for seed, photo in enumerate(tqdm(photos, 'maps', unit='photo')):
        for name, network in networks.items():
            if (name, photo.name) not in file:
                file.add(list(rows(name, network, photo, METHODS, seed)))
    table = summary(file.read())
    write_frame(options.out / 'summary.csv', table, digits=4)
    print(table.to_string(index=False))


if __name__ == '__main__':
    sys.exit(run(main))
