"""Metrics for imbalanced classification, each a torchmetrics.Metric of its own."""

from __future__ import annotations

from semscale_pl.metrics.accuracy import GroupAccuracy, ModelBias
from semscale_pl.metrics.average_precision import AveragePrecision
from semscale_pl.metrics.calibration import CalibrationError
from semscale_pl.metrics.report import ClassificationReport

__all__ = ["AveragePrecision", "CalibrationError", "ClassificationReport", "GroupAccuracy", "ModelBias"]
