"""The last layer of a head, fitted to a few labels in closed form: maths only.

A head ends in a layer z = w h + b and a score s = sigmoid(z). One Gauss-Newton step of
the squared error (Eq. 9) from where the layer is, with an L2 penalty on its change,
is a ridge regression: residuals y - s on rows g h, with the slope g = s (1 - s).
Two things follow. The step is exact, cheap and differentiable, so that an episode can
be trained through it (as Bertinetto et al., "Meta-learning with differentiable
closed-form solvers", ICLR 2019, do with the whole classifier; here the prior's own
score stays, and only what it leaves over is fitted). And the error for a label that
was left out needs no second fit: it is r / (1 - H), with the residual r of the fit and
the diagonal of the hat matrix H (Allen, Technometrics 16, 1974, for least squares).

What is not penalised is the offset of z and, where ``slope`` is asked for, a factor of
z: together a line on the logit, which keeps the order of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ['Change', 'Labelled', 'apply_change', 'left_out', 'ridge_change']


class Labelled(NamedTuple):
    """What a head makes of labelled images.

    Attributes:
        hidden: (n, d), what its last layer takes.
        logits: (n, 1), what that layer gives.
        mos: (n, 1) in [0, 1].
    """

    hidden: Tensor
    logits: Tensor
    mos: Tensor


class Change(NamedTuple):
    """Of a logit: z becomes z + h weight + slope z + offset.

    Attributes:
        weight: (d, 1).
        slope, offset: scalars.
    """

    weight: Tensor
    slope: Tensor
    offset: Tensor

    def of(self, hidden: Tensor, logits: Tensor) -> Tensor:
        """The changed logits (m, 1) of (m, d) and (m, 1). Differentiable."""
        return logits + hidden @ self.weight + self.slope * logits + self.offset


class _Rows(NamedTuple):
    """The regression: residuals on rows, less what the free columns explain."""

    residuals: Tensor
    rows: Tensor
    free: Tensor
    free_on_rows: Tensor
    free_on_residuals: Tensor


def ridge_change(given: Labelled, penalty: float | Tensor, slope: bool) -> Change:
    """The step from labelled images. Differentiable in all of them and in ``penalty``.

    Args:
        given: at least two images.
        penalty: of the squared change of the layer's weight, above 0; infinite: the
            free line alone.
        slope: whether a factor of the logit is free beside the offset.
    """
    rows = _regression(given, slope)
    gram = rows.rows @ rows.rows.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    # with everything divided by the penalty, infinity is a number like others
    inverse = 1 / torch.as_tensor(penalty, dtype=gram.dtype, device=gram.device)
    dual = torch.linalg.solve(gram * inverse + identity, rows.residuals) * inverse
    weight = rows.rows.T @ dual
    line = rows.free_on_residuals - rows.free_on_rows @ weight
    return Change(weight, line[1, 0] if slope else line.new_zeros(()), line[0, 0])


def left_out(given: Labelled, penalties: Sequence[float], slope: bool) -> Tensor:
    """Error of the linearised score for each image by a fit to the others.

    Args:
        given, slope: as in :func:`ridge_change`; in float64 for small penalties.
        penalties: to try; infinity among them is the line alone.

    Returns:
        (penalties, n): residuals, in units of MOS; to first order in the step.
    """
    rows = _regression(given, slope)
    basis, _ = torch.linalg.qr(rows.free)
    values, vectors = torch.linalg.eigh(rows.rows @ rows.rows.T)
    values = values.clamp_min(0)
    free = (basis**2).sum(1)
    of_line = rows.residuals[:, 0]
    errors = []
    for penalty in penalties:
        kept = values / (values + penalty)
        diagonal = free + (vectors**2 * kept).sum(1)
        fitted = vectors @ (kept * (vectors.T @ of_line))
        errors.append((of_line - fitted) / (1 - diagonal).clamp_min(1e-9))
    return torch.stack(errors)


@torch.no_grad()
def apply_change(layer: nn.Linear, change: Change) -> None:
    """Make the change part of the layer, which stays an ordinary one."""
    factor = 1 + change.slope
    layer.weight.copy_(factor * layer.weight + change.weight.T)
    layer.bias.copy_(factor * layer.bias + change.offset)


def _regression(given: Labelled, slope: bool) -> _Rows:
    score = torch.sigmoid(given.logits)
    gradient = score * (1 - score)
    rows, residuals = gradient * given.hidden, given.mos - score
    columns = [gradient, gradient * given.logits] if slope else [gradient]
    free = torch.cat(columns, dim=1)
    on_rows, on_residuals = (
        torch.linalg.lstsq(free, x).solution for x in (rows, residuals)
    )
    return _Rows(
        residuals - free @ on_residuals,
        rows - free @ on_rows,
        free,
        on_rows,
        on_residuals,
    )
