"""Where in an image a differentiable score is sensitive.

A score is any callable from (N, 3, H, W) RGB in [0, 1] to (N, 1), such as a network of
ours or ``metric.net`` of a pyiqa metric. Maps have the size of the image, whatever the
network resizes or cuts it to, and follow the sum over its three channels.

Sources: Zhu et al., "MetaIQA", CVPR 2020, Figure 3 (gradient maps of the quality
prior); Simonyan et al., "Deep Inside Convolutional Networks", 2014 (the gradient as a
map); Smilkov et al., "SmoothGrad", 2017; Sundararajan et al., "Axiomatic Attribution
for Deep Networks", ICML 2017. The last two are computed by captum, which the extra
``explain`` installs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from metaiqa_plugin.errors import UserError, needing, one_of, real_number, whole_number

__all__ = [
    'BASELINES',
    'baseline_image',
    'gradient_map',
    'integrated_gradients',
    'smooth_gradient_map',
]

Score = Callable[[Tensor], Tensor]

BASELINES = ('blur', 'gray', 'black')
BLUR_SIGMA = 1 / 16
"""Standard deviation of the blurred baseline as a part of the image's shorter side."""


def gradient_map(score: Score, image: Tensor) -> Tensor:
    """How much the score changes with each pixel, to first order.

    The map is sum_c |d score / d image_c|, the steepest change of the score when the
    three channels of a pixel may each move by the same amount. The sum, and not
    Simonyan et al.'s maximum, so that it is a mass that adds up over pixels.

    Args:
        score: see the module.
        image: (1, 3, H, W) floating, in [0, 1].

    Returns:
        (H, W), not negative, of the image's dtype.

    Raises:
        UserError: the score has no gradient, or one that is not finite.
    """
    return _gradient(score, image).abs().sum(1)[0]


def smooth_gradient_map(
    score: Score, image: Tensor, noise: float = 0.03, copies: int = 16, seed: int = 0
) -> Tensor:
    """SmoothGrad: the absolute mean gradient of noisy copies, summed over channels.

    Smilkov et al. advise noise of 0.1 to 0.2 of the range; that is a distortion which
    a quality metric sees before all else, so the default is milder.

    Args:
        score: see the module; gets one copy at a time.
        image: (1, 3, H, W) floating, in [0, 1].
        noise: standard deviation as a part of the image's range, max - min.
        copies: how many; more are smoother and slower.
        seed: of the noise; torch's own generator is left as it was.

    Returns:
        (H, W), not negative, of the image's dtype.

    Raises:
        UserError: an argument is out of its range; or as :func:`gradient_map`.
    """
    real_number('noise', noise, 0, 1)
    whole_number('copies', copies)
    whole_number('seed', seed, minimum=0)
    with needing('explain'):
        from captum.attr import NoiseTunnel, Saliency
    _gradient(score, image)
    spread = noise * (image.max() - image.min()).item()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mean = NoiseTunnel(Saliency(score)).attribute(
            _leaf(image),
            nt_samples=copies,
            nt_samples_batch_size=1,
            stdevs=spread,
            abs=False,
        )
    return _finite(mean).abs().sum(1)[0]


def integrated_gradients(
    score: Score, image: Tensor, baseline: str | Tensor = 'blur', steps: int = 32
) -> Tensor:
    """What each pixel adds to or takes from the score, compared with a baseline.

    The map is sum_c (image_c - baseline_c) * mean over the way of d score / d image_c,
    by Gauss-Legendre quadrature. It sums to score(image) - score(baseline), the more
    exactly the more steps (the axiom of completeness).

    Args:
        score: see the module; gets one image at a time.
        image: (1, 3, H, W) floating, in [0, 1].
        baseline: one of :data:`BASELINES`, see :func:`baseline_image`, or an image.
        steps: points of the quadrature.

    Returns:
        (H, W), positive where the image has what raises the score, of its dtype.

    Raises:
        UserError: an argument is out of its range; or as :func:`gradient_map`.
    """
    whole_number('steps', steps)
    with needing('explain'):
        from captum.attr import IntegratedGradients
    if not isinstance(baseline, Tensor):
        baseline = baseline_image(image, baseline)
    if baseline.shape != image.shape:
        raise UserError(
            f'baseline has shape {tuple(baseline.shape)}; expected that of the image, '
            f'{tuple(image.shape)}'
        )
    _gradient(score, image)
    parts = IntegratedGradients(score).attribute(
        _leaf(image), baselines=baseline, n_steps=steps, internal_batch_size=1
    )
    return _finite(parts).detach().sum(1)[0].to(image.dtype)


def baseline_image(image: Tensor, name: str = 'blur') -> Tensor:
    """An image to compare with: what the score should be explained against.

    For quality no image is neutral: black is a photo without light, and a metric has
    an opinion of it. ``'blur'`` keeps colour and light and takes every detail, so the
    map shows what detail is worth; ``'gray'``, the mean colour, and ``'black'`` take
    light and colour, too.

    Args:
        image: (1, 3, H, W) floating, in [0, 1].
        name: one of :data:`BASELINES`.

    Returns:
        (1, 3, H, W) in [0, 1].

    Raises:
        UserError: another name.
    """
    one_of('baseline', name, BASELINES)
    if name == 'black':
        return torch.zeros_like(image)
    if name == 'gray':
        return image.mean((-2, -1), keepdim=True).expand_as(image).clone()
    shorter = min(image.shape[-2:])
    sigma = max(shorter * BLUR_SIGMA, 0.5)
    reach = min(round(3 * sigma), shorter - 1)
    return gaussian_blur(image, 2 * reach + 1, sigma) if reach else image.clone()


def _leaf(image: Tensor) -> Tensor:
    if image.ndim != 4 or image.shape[:2] != (1, 3):
        raise UserError(
            f'image has shape {tuple(image.shape)}; expected (1, 3, H, W), one RGB '
            'image'
        )
    return image.detach().clone().requires_grad_()


def _gradient(score: Score, image: Tensor) -> Tensor:
    """(1, 3, H, W) d score / d image."""
    image = _leaf(image)
    with torch.enable_grad():
        value = _attached(score, image).sum()
        if value.requires_grad:
            found = torch.autograd.grad(value, image, allow_unused=True)[0]
            if found is not None and _finite(found).any():
                return found
    raise UserError(
        'this metric has no gradient: its score does not follow smoothly from the '
        'pixels; a quality map needs none'
    )


def _attached(score: Score, image: Tensor) -> Tensor:
    """The score; one computed by numpy, which torch refuses here, is cut off."""
    try:
        return score(image)
    except RuntimeError as error:
        if 'numpy() on Tensor that requires grad' not in str(error):
            raise
        return image.new_zeros(1, 1)


def _finite(values: Tensor) -> Tensor:
    if not values.isfinite().all():
        raise UserError(
            'the gradient of this metric is not finite for this image; a quality map '
            'needs none'
        )
    return values
