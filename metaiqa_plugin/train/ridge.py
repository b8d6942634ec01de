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

import copy
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    'PENALTY',
    'Change',
    'Fit',
    'Labelled',
    'apply_change',
    'fit_layer',
    'left_out',
    'ridge_change',
]

PENALTY = 10.0
"""On the change of the last layer's weight, whatever the number of labels. One that the
labels choose, by the errors left out or by the evidence, is a worse one below 200 of
them: docs/results/recipe-search.md."""
LINE_STEPS = 8
LEAST_SLOPE = 0.1


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


class Fit(NamedTuple):
    """What became of a layer.

    Attributes:
        kind: ``'none'``: it stays; ``'offset'`` and ``'line'``: of its logit;
            ``'layer'``: its weight changed, too.
        before: (n,), scores of the labelled images as the layer was.
        left_out: (n,), of each by the same kind of fit to the others.
    """

    kind: Literal['none', 'offset', 'line', 'layer']
    before: Tensor
    left_out: Tensor


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
def fit_layer(layer: nn.Linear, hidden: Tensor, mos: Tensor) -> Fit:
    """Fit a head's last layer to labels, no further than errors left out allow.

    First nothing, an offset or a line of the logit, whichever has the smallest squared
    error left out; then the step of :func:`ridge_change`, if that makes it smaller yet.

    Args:
        layer: is changed in place.
        hidden: (n, d), what it takes for the labelled images; n at least 3.
        mos: (n, 1) in [0, 1].
    """
    hidden, mos = hidden.double(), mos.double()
    wide = copy.deepcopy(layer).double()
    start = Labelled(hidden, wide(hidden), mos)
    before = torch.sigmoid(start.logits)
    best, kind, chosen = (mos - before)[:, 0], 'none', []
    for name, slope in (('offset', False), ('line', True)):
        changes, moved = _line(start, slope)
        if changes:
            errors = left_out(moved, [math.inf], slope)[0]
            if errors.square().mean() < best.square().mean():
                best, kind, chosen = errors, name, changes
    for change in chosen:
        apply_change(wide, change)
    moved, slope = start._replace(logits=wide(hidden)), kind == 'line'
    errors = left_out(moved, [PENALTY], slope)[0]
    if errors.square().mean() < best.square().mean():
        best, kind = errors, 'layer'
        apply_change(wide, ridge_change(moved, PENALTY, slope))
    layer.load_state_dict(wide.state_dict())
    return Fit(kind, before[:, 0], mos[:, 0] - best)


def _line(given: Labelled, slope: bool) -> tuple[list[Change], Labelled]:
    """Gauss-Newton steps to the least squares; none, where the order would turn."""
    changes, factor = [], 1.0
    for _ in range(LINE_STEPS):
        change = ridge_change(given, math.inf, slope)
        factor *= 1 + float(change.slope)
        if not factor > LEAST_SLOPE:
            return [], given
        changes.append(change)
        moved = change.of(given.hidden, given.logits)
        given = given._replace(logits=moved)
    return changes, given


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
