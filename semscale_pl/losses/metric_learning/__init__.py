"""Losses of similarities to class centres: cosines (B, C) and (B,) labels to (B,) losses."""

from __future__ import annotations

from semscale_pl.losses.metric_learning.circle import Circle
from semscale_pl.losses.metric_learning.margins import ArcFace, CosFace, NormSoftmax, SoftTriple
from semscale_pl.losses.metric_learning.proxy_anchor import ProxyAnchor
from semscale_pl.losses.metric_learning.proxy_nca import ProxyNCA
from semscale_pl.losses.metric_learning.similarity import SimilarityLoss

__all__ = ["ArcFace", "Circle", "CosFace", "NormSoftmax", "ProxyAnchor", "ProxyNCA", "SimilarityLoss", "SoftTriple"]
