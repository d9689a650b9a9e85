"""Covariances of the classes' own in a few directions, and what they add to the scores of a Gaussian classifier."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.geometry.discriminant import DiscriminantMoments, DiscriminantSettings, shrunk_means
from semscale_pl.geometry.moments import ClassMoments
from semscale_pl.options import check

_ROWS_AT_ONCE = 8192


class ClassCovariances(NamedTuple):
    """Quadratic forms of the classes on features y = x V - centre in r directions, C r^2 numbers.

    Args:
        directions: V (D, r).
        centre: (r,).
        quadratic, linear, offset: Q (C, r, r), q (C, r) and o (C,): the scores change by y^T Q_c y + q_c^T y + o_c.
    """

    directions: Tensor
    centre: Tensor
    quadratic: Tensor
    linear: Tensor
    offset: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Return what is added to the scores (N, C) float64 of features (N, D)."""
        return torch.cat([self._of_block(rows) for rows in features.split(_ROWS_AT_ONCE)])

    def _of_block(self, rows: Tensor) -> Tensor:
        y = rows.double() @ self.directions - self.centre
        quadratic = [((y @ own) * y).sum(1) for own in self.quadratic]
        return torch.stack(quadratic, dim=1) + y @ self.linear.T + self.offset


@torch.no_grad()
def leading_directions(moments: DiscriminantMoments, number: int) -> Tensor:
    """Return the leading eigenvectors of the shared covariance, (D, r); r is at most its rank.

    However the covariance is shrunk to the sphere, they are also the leading ones of features whitened by the shrunk
    one, where the shrinkage is felt least.
    """
    check(class_covariances=number)
    values, vectors = torch.linalg.eigh(moments.covariance())
    floor = values[-1].clamp_min(0.0) * len(values) * torch.finfo(values.dtype).eps
    rank = int((values > floor).sum())
    return vectors[:, len(values) - min(number, rank) :].flip(1)


@torch.no_grad()
def class_covariances(
    moments: DiscriminantMoments,
    projected: ClassMoments,
    directions: Tensor,
    settings: DiscriminantSettings,
    pseudo: float,
) -> ClassCovariances:
    """Give each class a covariance of its own in some directions, shrunk to the shared one, in closed form.

    There the Gaussian N(u_c, M) that all classes share becomes N(u_c, M_c), while what is across the directions given
    the features in them stays shared. With M the shrunk covariance in the directions, S_c the class's unbiased one,
    shrunk to the same sphere, and n_c - 1 degrees of freedom, M_c is ((n_c - 1) S_c + p M) / (n_c - 1 + p). So the
    scores change by -(y - u_c)^T (M_c^-1 - M^-1) (y - u_c) / 2 - log(det M_c / det M) / 2 over the temperature: the
    log-determinant is where a class's volume belongs in a likelihood. A class of one sample, and one whose M_c is
    singular, keeps the shared one.

    Args:
        moments: of features (N, D).
        projected: moments of the same features times the directions, class by class.
        directions: (D, r), orthonormal, such as :func:`leading_directions`.
        settings: of the classifier whose scores change.
        pseudo: p, pseudo-samples of the shared covariance.

    Reference: Friedman (JASA 1989), eq. 16 to 18, in a subspace.
    """
    check(covariance_k=pseudo)
    shared, sphere = moments.covariance(), torch.eye(directions.shape[1], dtype=torch.float64)
    level = settings.shrinkage * shared.trace() / len(shared) * sphere.to(shared.device)
    common = (1.0 - settings.shrinkage) * (directions.T @ shared @ directions) + level
    degrees = (moments.counts - 1).clamp_min(0).double()
    own = projected.scatter() / degrees.clamp_min(1.0)[:, None, None]
    share = (degrees / (degrees + pseudo).clamp_min(1e-300))[:, None, None]
    mixed = (1.0 - share) * common + share * ((1.0 - settings.shrinkage) * own + level)
    difference, ratio = _against(mixed, common)
    means = shrunk_means(moments, settings) @ directions
    centre = means[moments.present].mean(0)
    shifts = means - centre
    quadratic = difference / (-2.0 * settings.temperature)
    linear = -2.0 * (quadratic @ shifts[:, :, None]).squeeze(2)
    offset = -0.5 * (linear * shifts).sum(1) - ratio / (2.0 * settings.temperature)
    return ClassCovariances(directions, centre, quadratic, linear, offset)


def _against(mixed: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverses (C, r, r) less that of the common one (r, r), and logs of ratios of determinants (C,)."""
    shared, no_spread = torch.linalg.cholesky_ex(common)
    factors, singular = torch.linalg.cholesky_ex(mixed)
    pivots = factors.diagonal(dim1=-2, dim2=-1).square()
    safe = pivots.amin(1) > pivots.amax(1) * len(common) * torch.finfo(common.dtype).eps
    usable = (singular == 0) & (no_spread == 0) & safe
    identity = torch.eye(len(common), dtype=common.dtype, device=common.device)
    factors, shared = (
        torch.where(usable[:, None, None], factors, identity),
        torch.where(no_spread == 0, shared, identity),
    )
    difference = torch.cholesky_inverse(factors) - torch.cholesky_inverse(shared)
    logs = [2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) for factor in (factors, shared)]
    return difference * usable[:, None, None], (logs[0] - logs[1]) * usable
