"""``metaiqa hyper-weights``: a map of the weights that a hyper-network generates."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, UserError, needing

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA

__all__ = ['add_parser', 'hyper_weights']

ORIGINAL = 'original'
DISTORTIONS = ('gaussian_blur', 'white_noise', 'jpeg')
LEVEL = 4
NAMES = {'tsne': 't-SNE', 'pca': 'principal components'}
HEADER = ('image', 'content', 'version', 'x', 'y', 'score', 'error')

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
    seed: tuple[int, int]

    @property
    def image(self) -> str:
        """Its name, which no other version has."""
        return self.path if self.name == ORIGINAL else f'{self.path}:{self.name}'

    def of(self, photo: Image.Image) -> Image.Image:
        """This version of the photo, RGB."""
        import numpy as np

        from metaiqa_plugin.data.distortions import distort

        if self.name == ORIGINAL:
            return photo
        return distort(photo, self.name, LEVEL, np.random.default_rng(self.seed))


@dataclass(frozen=True)
class Found:
    """What the network gives for a version; or what is wrong with the file."""

    version: Version
    vector: np.ndarray | None = None
    score: float | None = None
    error: str = ''


def add_parser(verbs) -> None:
    """Add the verb ``hyper-weights`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'hyper-weights', help='map the weights that HyperIQA generates for images'
    )
    common.add_images(verb)
    common.add_metric(
        verb, 'hyperiqa-lite0', what='hyperiqa-lite0, or a checkpoint of HyperIQA'
    )
    verb.add_argument('--method', default='tsne', help='tsne (default) or pca')
    verb.add_argument(
        '--distort',
        action='store_true',
        help=f'add {", ".join(DISTORTIONS)} (level {LEVEL}) of every image, and tell '
        'whether neighbours share the photo or the distortion',
    )
    common.add_seed(verb, 'of the noise and of the map')
    common.add_out(verb, 'folder', 'hyper-weights')
    verb.set_defaults(command=hyper_weights)


def hyper_weights(options: argparse.Namespace) -> int:
    """Write ``hyper_weights.csv`` and ``hyper_weights.png``; the exit code.

    Raises:
        UserError: an argument is wrong, or too few images can be read.
    """
    import numpy as np

    from metaiqa_plugin.errors import one_of, whole_number
    from metaiqa_plugin.score import write_table
    from metaiqa_plugin.score.sources import Sources

    with needing('benchmark'):
        from metaiqa_plugin.study.hyper_weights import METHODS, embed, neighbour_shares
        from metaiqa_plugin.study.weight_map import draw_map

    one_of('method', options.method, METHODS)
    whole_number('seed', options.seed, least=0)
    names = (ORIGINAL, *(DISTORTIONS if options.distort else ()))
    paths = Sources(options.images).files()
    every = list(_find(_network(options.metric), paths, names, options.seed))
    found = [one for one in every if not one.error]
    vectors = np.array([one.vector for one in found])
    places = embed(vectors, options.method, options.seed)
    told = f'{len(found)} images'
    if options.distort:
        contents = [one.version.path for one in found]
        versions = [one.version.name for one in found]
        shares = neighbour_shares(vectors, contents, versions)
        told = f'Nearest neighbours of {len(found)} images: {shares}'
    out = Path(options.out)
    write_table(out / 'hyper_weights.csv', HEADER, _rows(every, places))
    title = f'Generated weights of the first target layer, {NAMES[options.method]}'
    caption = f'{told}\n{READING}'
    draw_map(out / 'hyper_weights.png', places, *_shown(found), title, caption)
    print(told)
    print(f'{out}: hyper_weights.csv, hyper_weights.png')
    return SOME_FAILED if len(found) < len(every) else 0


def _network(metric: str) -> HyperIQA:
    from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
    from metaiqa_plugin.train.iqa_model import choose_device

    path = None if metric == 'hyperiqa-lite0' else metric
    network = HyperIQA(pretrained_model_path=path)
    return network.to(choose_device('auto').value).eval()


def _find(
    network: HyperIQA, paths: Sequence[str], names: Sequence[str], seed: int
) -> Iterator[Found]:
    """All versions of all images, with a bar on stderr; of a bad image one row."""
    from torchvision.transforms.functional import to_tensor
    from tqdm import tqdm

    from metaiqa_plugin.data.images import read_rgb
    from metaiqa_plugin.study.hyper_weights import weights_and_score

    for number, path in enumerate(tqdm(paths, 'weights', unit='image')):
        try:
            photo = read_rgb(path)
        except UserError as error:
            print(f'metaiqa: skipped {path}: {error}', file=sys.stderr)
            yield Found(Version(path, ORIGINAL, (seed, number)), error=str(error))
            continue
        for name in names:
            version = Version(path, name, (seed, number))
            image = to_tensor(version.of(photo))
            yield Found(version, *weights_and_score(network, image))


def _rows(every: Sequence[Found], places: np.ndarray) -> Iterator[list[str]]:
    remaining = iter(places.tolist())
    for one in every:
        version = one.version
        numbers = ['', '', '']
        if not one.error:
            numbers = [f'{number:.8g}' for number in (*next(remaining), one.score)]
        yield [version.image, version.path, version.name, *numbers, one.error]


def _shown(
    found: Sequence[Found],
) -> tuple[list[float], list[str], list[str], Callable[[int], Image.Image]]:
    """Scores, contents, versions, and what reads the image at a position."""
    from metaiqa_plugin.data.images import read_rgb

    versions = [one.version for one in found]
    return (
        [one.score for one in found],
        [version.path for version in versions],
        [version.name for version in versions],
        lambda at: versions[at].of(read_rgb(versions[at].path)),
    )
