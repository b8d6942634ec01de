"""What the weights that a hyper-network generates have to do with content.

Su, Yan, Zhu, Zhang, Ge, Sun, Zhang, "Blindly Assess Image Quality in the Wild Guided by
a Self-Adaptive Hyper Network", CVPR 2020, holds that the target network's weights
follow what an image shows, and looks at those of the first layer. Here they are laid
out in two dimensions, and the claim has a number: whose weights are the nearest, those
of the same photo in other quality, or those of another photo with the same distortion?
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from torch import Tensor
from tqdm import tqdm

from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError, one_of, whole_number
from metaiqa_plugin.files import check_output, replacing, write_table
from metaiqa_plugin.score.pipeline import Item, ScoreRow, score_items
from metaiqa_plugin.score.scorers import MetricScorer, open_metric

__all__ = [
    'NeighbourShares',
    'Version',
    'draw_map',
    'embed',
    'nearest',
    'neighbour_shares',
    'spaced_out',
    'weights_and_score',
    'write_weight_map',
]

matplotlib.use('Agg')

METHODS = {'tsne': 't-SNE', 'pca': 'principal components'}
ORIGINAL = 'original'
DISTORTIONS = ('gaussian_blur', 'white_noise', 'jpeg')
LEVEL = 4
HEADER = ('image', 'content', 'version', 'x', 'y', 'score', 'error')
MIN_IMAGES = 4
COMPONENTS = 50
"""Principal components that t-SNE is given at most."""
PERPLEXITY = 30.0
"""Of t-SNE at most; a third of the other images where they are fewer."""
DPI = 150
WIDTH, HEIGHT = 11.0, 9.2
"""Inches; so are all lengths below."""
MAP = (0.3, 0.3, 9.4, 7.6)
"""Left, bottom, width, height of the map; that of the colour bar follows."""
BAR = (9.9, 0.3, 0.18, 7.6)
THUMBNAIL = 0.62
SPACING = 0.69
MARKERS = 'os^DvPX*'
READING = (
    'Each dot is an image, with a thumbnail where there is room; lines join the '
    'versions of a photo.'
)


@dataclass(frozen=True)
class Version:
    """An image file, as it is or distorted.

    Attributes:
        path: of the file.
        name: ``'original'`` or a distortion.
        seed: of the noise, another for each photo: the same noise on all of them
            would be a likeness of its own.
    """

    path: str
    name: str
    seed: tuple[int, int] = (0, 0)

    @property
    def image(self) -> str:
        """Its name, which no other version has."""
        return self.path if self.name == ORIGINAL else f'{self.path}:{self.name}'

    def load(self, photo: Image.Image | None = None) -> Image.Image:
        """This version, RGB, of the photo if it has been read before."""
        photo = read_rgb(self.path) if photo is None else photo
        if self.name == ORIGINAL:
            return photo
        return distort(photo, self.name, LEVEL, np.random.default_rng(self.seed))


@dataclass(frozen=True)
class NeighbourShares:
    """Shares of images, in [0, 1], whose nearest neighbour is of the same kind.

    Attributes:
        content, version: with the same content; with the same version.
        chance_content, chance_version: what a neighbour drawn at random would give.
    """

    content: float
    version: float
    chance_content: float
    chance_version: float

    def __str__(self) -> str:
        return (
            f'same photo {self.content:.1%} (chance {self.chance_content:.1%}), same '
            f'version {self.version:.1%} (chance {self.chance_version:.1%})'
        )


def write_weight_map(
    paths: Sequence[str],
    metric: str,
    out: str | os.PathLike,
    method: str = 'tsne',
    distorted: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Write ``hyper_weights.csv`` and ``hyper_weights.png``.

    Prints how many images there are, or what their neighbours share, and on stderr the
    error of each image left out.

    Args:
        paths: of the images.
        metric: ``'hyperiqa-lite0'``, or a checkpoint of HyperIQA.
        out: folder to write to.
        method: see :func:`embed`.
        distorted: add the ``DISTORTIONS`` of every image.
        seed: of the noise and of the map.
        overwrite: ``out`` may have files, which are replaced.

    Returns:
        how many images could not be scored.

    Raises:
        UserError: an argument is wrong, ``out`` is in use, or too few images can be
            read.
    """
    one_of('method', method, tuple(METHODS))
    whole_number('seed', seed, minimum=0)
    names = (ORIGINAL, *(DISTORTIONS if distorted else ()))
    _require_images(len(paths) * len(names))
    out = check_output(out, overwrite, folder=True, inputs=paths)
    network = open_metric(metric).net
    if not isinstance(network, HyperIQA) or not network.config.hyper_network:
        raise UserError(
            f'metric={metric!r}: this network generates no weights; give '
            'hyperiqa-lite0, or a checkpoint of HyperIQA with a hyper-network'
        )
    scored = list(_scored(network, paths, names, seed))
    found = [(version, vector) for version, row, vector in scored if not row.error]
    vectors = np.array([vector for _, vector in found])
    places = embed(vectors, method, seed)
    versions = [version for version, _ in found]
    summary = f'{len(found)} images'
    if distorted:
        kinds = [(version.path, version.name) for version in versions]
        shares = neighbour_shares(vectors, *zip(*kinds, strict=True))
        summary = f'Nearest neighbours of {len(found)} images: {shares}'
    rows = [(version, row) for version, row, _ in scored]
    write_table(out / 'hyper_weights.csv', HEADER, _cells(rows, places))
    title = f'Generated weights of the first target layer, {METHODS[method]}'
    scores = [row.scores[0] for _, row in rows if not row.error]
    caption = f'{summary}\n{READING}'
    draw_map(out / 'hyper_weights.png', places, scores, versions, title, caption)
    print(summary)
    print(f'{out}: hyper_weights.csv, hyper_weights.png')
    return len(scored) - len(found)


def _scored(
    network: HyperIQA, paths: Sequence[str], names: Sequence[str], seed: int
) -> Iterator[tuple[Version, ScoreRow, np.ndarray | None]]:
    """All versions of all images with their weights; of a bad image one row."""
    vectors: list[np.ndarray] = []

    def score(images: Tensor) -> Tensor:
        vector, value = weights_and_score(network, images)
        if value.isfinite():
            vectors.append(vector)
        return value

    scorer = MetricScorer('hyperiqa', score, lower_better=False)
    to_score, to_name = itertools.tee(_versions(paths, names, seed))
    items = (Item(version.image, load) for version, load in to_score)
    for (version, _), row in zip(to_name, score_items(items, [scorer]), strict=True):
        if row.error:
            tqdm.write(f'metaiqa: skipped {row.path}: {row.error}', sys.stderr)
        yield version, row, None if row.error else vectors.pop(0)


def _versions(
    paths: Sequence[str], names: Sequence[str], seed: int
) -> Iterator[tuple[Version, Callable[[], Image.Image]]]:
    for number, path in enumerate(tqdm(paths, 'weights', unit='image')):
        versions = [Version(path, name, (seed, number)) for name in names]
        try:
            photo = read_rgb(path)
        except UserError:
            yield versions[0], versions[0].load
            continue
        for version in versions:
            yield version, lambda version=version, photo=photo: version.load(photo)


def _cells(
    rows: Sequence[tuple[Version, ScoreRow]], places: np.ndarray
) -> Iterator[list[str]]:
    remaining = iter(places.tolist())
    for version, row in rows:
        numbers = ['', '', '']
        if not row.error:
            numbers = [f'{one:.8g}' for one in (*next(remaining), *row.scores)]
        yield [row.path, version.path, version.name, *numbers, row.error]


def weights_and_score(network: HyperIQA, images: Tensor) -> tuple[np.ndarray, Tensor]:
    """The first generated layer of an image as a vector, and the image's score.

    Args:
        network: in evaluation mode, so that both are means over sub-images.
        images: (1, 3, H, W) in [0, 1], one image.

    Returns:
        (out * in,) float32, and (1, 1), higher is better.

    Raises:
        UserError: a network that generates no weights.
    """
    images = images.to(next(network.parameters()).device)
    with torch.inference_mode():
        layer = network.generated_weights(images).weights[0]
        score = network(images)
    return layer.flatten().float().cpu().numpy(), score


def embed(vectors: np.ndarray, method: str = 'tsne', seed: int = 0) -> np.ndarray:
    """Places in two dimensions.

    Args:
        vectors: (N, D), N at least 4, not all the same.
        method: ``'pca'``: the first two principal components. ``'tsne'``: t-SNE (van
            der Maaten, Hinton, JMLR 2008) of at most 50 of them, which keeps
            neighbours together; neither its axes nor long distances mean anything.
            The perplexity is 30, or a third of N - 1 if that is less; it starts from
            the first two components.
        seed: of what scikit-learn draws where it approximates the components, which
            it does for large N and D.

    Returns:
        (N, 2) float64.

    Raises:
        UserError: an argument is out of its range.
    """
    one_of('method', method, tuple(METHODS))
    whole_number('seed', seed, minimum=0)
    count = len(vectors)
    _require_images(count)
    if not np.ptp(vectors, axis=0).any():
        raise UserError(f'all {count} images have the same weights; nothing to map')
    components = 2 if method == 'pca' else COMPONENTS
    reduction = PCA(min(components, *vectors.shape), random_state=seed)
    reduced = reduction.fit_transform(vectors)
    if method == 'pca':
        return reduced.astype(np.float64)
    perplexity = min(PERPLEXITY, (count - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init='pca', random_state=seed)
    return tsne.fit_transform(reduced).astype(np.float64)


def _require_images(count: int) -> None:
    if count < MIN_IMAGES:
        raise UserError(
            f'a map needs at least {MIN_IMAGES} images that can be read, got {count}; '
            'name more, or add versions of each with --distort'
        )


def nearest(vectors: np.ndarray) -> np.ndarray:
    """(N,) positions of each vector's nearest other by Euclid's distance.

    Of several equally near ones the first. ``vectors`` is (N, D), N at least 2.
    """
    distances = pairwise_distances(np.asarray(vectors, np.float64))
    np.fill_diagonal(distances, np.inf)
    return distances.argmin(axis=1)


def neighbour_shares(
    vectors: np.ndarray, contents: Sequence[str], versions: Sequence[str]
) -> NeighbourShares:
    """How often the nearest vector is of the same content, and of the same version.

    Chance is the mean over images of the share of the others that have its kind.

    Args:
        vectors: (N, D), N at least 2.
        contents: (N,) the photo that each shows.
        versions: (N,) what was done to it.
    """
    neighbour = nearest(vectors)
    found = []
    for kinds in (np.asarray(contents), np.asarray(versions)):
        alike = kinds[:, None] == kinds
        share = float((kinds == kinds[neighbour]).mean())
        chance = float((alike.sum(axis=1) - 1).mean() / (len(kinds) - 1))
        found.append((share, chance))
    (content, chance_content), (version, chance_version) = found
    return NeighbourShares(content, version, chance_content, chance_version)


def spaced_out(places: np.ndarray, side: float, order: Sequence[int]) -> list[int]:
    """Positions whose squares of ``side``, centred on their places, do not overlap.

    Args:
        places: (N, 2).
        side: of the squares, in the unit of the places.
        order: positions; each is taken unless it overlaps one taken before.
    """
    taken: list[int] = []
    for position in order:
        apart = np.abs(places[taken] - places[position]).max(axis=1)
        if (apart >= side).all():
            taken.append(position)
    return taken


def draw_map(
    path: str | os.PathLike,
    places: np.ndarray,
    scores: Sequence[float],
    versions: Sequence[Version],
    title: str,
    caption: str = '',
) -> None:
    """A dot for each image; thumbnails where they do not overlap.

    Colours of dots and borders are scores, shapes of dots are versions, and lines join
    the first version of a photo with its others. Images of the first version are the
    first to get a thumbnail.

    Args:
        path: PNG to write.
        places: (N, 2); both directions have the same scale in the picture.
        scores: (N,).
        versions: (N,); the name of the first is that of the first versions.
        title: of the picture.
        caption: one or two lines below it.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes(_fractions(MAP))
    unit = _fit(axes, places)
    colours = ScalarMappable(Normalize(min(scores), max(scores)), 'viridis')
    kinds = list(dict.fromkeys(version.name for version in versions))
    order = sorted(range(len(places)), key=lambda at: kinds.index(versions[at].name))
    _draw_lines(axes, places, [versions[at].path for at in order], order)
    for at in spaced_out(places, SPACING * unit, order):
        border = colours.to_rgba(scores[at])
        _draw_thumbnail(axes, places[at], versions[at].load(), border)
    names = np.array([version.name for version in versions])
    _draw_dots(axes, places, colours.to_rgba(scores), names, kinds)
    bar = figure.colorbar(colours, cax=figure.add_axes(_fractions(BAR)))
    bar.set_label('score of the image, higher is better')
    style = {'va': 'top', 'parse_math': False}
    figure.text(0.3 / WIDTH, 1 - 0.2 / HEIGHT, title, size=14, weight='bold', **style)
    figure.text(0.3 / WIDTH, 1 - 0.55 / HEIGHT, caption, size=9, **style)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def _fractions(box: Sequence[float]) -> np.ndarray:
    return np.divide(box, (WIDTH, HEIGHT) * 2)


def _fit(axes: Axes, places: np.ndarray) -> float:
    """Show all thumbnails whole, to one scale; units of ``places`` per inch."""
    size = np.array(MAP[2:])
    low, high = places.min(axis=0), places.max(axis=0)
    unit = ((high - low) / (size - 1.3 * THUMBNAIL)).max()
    middle, half = (low + high) / 2, size * unit / 2
    (left, bottom), (right, top) = middle - half, middle + half
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    return float(unit)


def _draw_lines(
    axes: Axes, places: np.ndarray, photos: Sequence[str], order: Sequence[int]
) -> None:
    """From the first in ``order`` of each of ``photos`` to its others."""
    first, lines = {}, []
    for photo, at in zip(photos, order, strict=True):
        start = first.setdefault(photo, at)
        lines += [(places[start], places[at])] if start != at else []
    style = {'colors': '0.6', 'linewidths': 0.7, 'zorder': 1}
    axes.add_collection(LineCollection(lines, **style), autolim=False)


def _draw_thumbnail(
    axes: Axes, place: np.ndarray, image: Image.Image, border: tuple
) -> None:
    pixels = round(THUMBNAIL * DPI)
    image.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    zoom = THUMBNAIL * 72 / max(image.size)
    shown = OffsetImage(np.asarray(image), zoom=zoom, dpi_cor=True)
    frame = {'edgecolor': border, 'linewidth': 2.5}
    box = AnnotationBbox(shown, tuple(place), pad=0, bboxprops=frame, zorder=2)
    axes.add_artist(box)


def _draw_dots(
    axes: Axes,
    places: np.ndarray,
    faces: np.ndarray,
    names: np.ndarray,
    kinds: Sequence[str],
) -> None:
    handles = []
    for kind, marker in zip(kinds, itertools.cycle(MARKERS), strict=False):
        here = names == kind
        style = {'marker': marker, 'edgecolors': 'white', 'linewidths': 0.7}
        axes.scatter(*places[here].T, s=30, c=faces[here], zorder=3, **style)
        handles.append(Line2D([], [], marker=marker, color='0.3', linestyle=''))
    if len(kinds) > 1:
        style = {'loc': 'lower left', 'bbox_to_anchor': (0, 1), 'ncols': len(kinds)}
        axes.legend(handles, kinds, frameon=False, fontsize=9, **style)
