"""Metrics for imbalanced classification and for embeddings, each a torchmetrics.Metric of its own."""

from __future__ import annotations

from semscale_pl.metrics.accuracy import GroupAccuracy, ModelBias
from semscale_pl.metrics.average_precision import AveragePrecision
from semscale_pl.metrics.calibration import CalibrationError
from semscale_pl.metrics.clustering import ClusteringReport
from semscale_pl.metrics.embedding_report import EmbeddingReport
from semscale_pl.metrics.report import ClassificationReport
from semscale_pl.metrics.retrieval import RetrievalReport

__all__ = [
    "AveragePrecision",
    "CalibrationError",
    "ClassificationReport",
    "ClusteringReport",
    "EmbeddingReport",
    "GroupAccuracy",
    "ModelBias",
    "RetrievalReport",
]
