"""What the weights that a hyper-network generates have to do with content.

Su, Yan, Zhu, Zhang, Ge, Sun, Zhang, "Blindly Assess Image Quality in the Wild Guided by
a Self-Adaptive Hyper Network", CVPR 2020, holds that the target network's weights
follow what an image shows, and looks at those of the first layer. Here they are laid
out in two dimensions, and the claim has a number: whose weights are the nearest, those
of the same photo in other quality, or those of another photo with the same distortion?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.errors import UserError, one_of, whole_number

__all__ = [
    'METHODS',
    'NeighbourShares',
    'embed',
    'nearest',
    'neighbour_shares',
    'spaced_out',
    'weights_and_score',
]

METHODS = ('tsne', 'pca')
LEAST_IMAGES = 4
COMPONENTS = 50
"""Principal components that t-SNE is given at most."""
PERPLEXITY = 30.0
"""Of t-SNE at most; a third of the other images where they are fewer."""


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


def weights_and_score(network: HyperIQA, image: Tensor) -> tuple[np.ndarray, float]:
    """The first generated layer of an image as a vector, and the image's score.

    Args:
        network: in evaluation mode, so that both are means over sub-images.
        image: (3, H, W) in [0, 1].

    Returns:
        (out * in,) float32, and the score, higher is better.

    Raises:
        UserError: a network that generates no weights.
    """
    images = image.unsqueeze(0).to(next(network.parameters()).device)
    with torch.inference_mode():
        layer = network.generated_weights(images).weights[0]
        score = network(images).item()
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
    one_of('method', method, METHODS)
    whole_number('seed', seed, least=0)
    count = len(vectors)
    if count < LEAST_IMAGES:
        raise UserError(
            f'a map needs at least {LEAST_IMAGES} images that can be read, got {count}'
        )
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


def nearest(vectors: np.ndarray) -> np.ndarray:
    """(N,) positions of each vector's nearest other by Euclid's distance.

    Of several equally near ones the first. ``vectors`` is (N, D), N at least 2.
    """
    centred = np.asarray(vectors, np.float64)
    centred = centred - centred.mean(axis=0)
    products = centred @ centred.T
    lengths = np.diag(products)
    squared = lengths[:, None] + lengths - 2 * products
    np.fill_diagonal(squared, np.inf)
    return squared.argmin(axis=1)


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
