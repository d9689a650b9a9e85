"""What an evaluation says of embeddings: retrieval and clustering, as the flat names of a run's record."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor, nn

from semscale_pl.metrics.clustering import Clustering, ClusteringReport
from semscale_pl.metrics.retrieval import KS, Retrieval, RetrievalReport

# Single numbers of a report, fractions in [0, 1] but for the AMI, which may be negative.
SEARCHED = (*(f"recall_at_{k}" for k in KS), "balanced_recall_at_1", "map_at_r", "r_precision", "nmi", "ami")
# By which an epoch is selected.
FIRST = "recall_at_1"


class Searched(TypedDict, total=False):
    """Retrieval and clustering of the embeddings of an evaluation; nmi and ami are means over the restarts.

    All are None where a part of the images was left out, by a limit of batches, and ``clustering``, ``nmi`` and ``ami``
    where no k-means was asked for.
    """

    recall_at_1: float | None
    recall_at_2: float | None
    recall_at_4: float | None
    recall_at_8: float | None
    balanced_recall_at_1: float | None
    map_at_r: float | None
    r_precision: float | None
    nmi: float | None
    ami: float | None
    retrieval: Retrieval | None
    clustering: Clustering | None


class EmbeddingReport(nn.Module):
    """Search and cluster embeddings: every one is asked for its nearest neighbours among all others.

    Args:
        restarts: number of k-means; 0 leaves clustering out.
        seed: of the first one.
        class_names: names of the classes for messages.

    Raises:
        ValueError: on `compute`, see :class:`RetrievalReport` and :class:`ClusteringReport`.

    Example:
        >>> import torch
        >>> report = EmbeddingReport(restarts=0)
        >>> report.update(torch.randn(20, 4), torch.arange(20) % 2)
        >>> sorted(report.compute())[-2:]
        ['recall_at_8', 'retrieval']

    Reference: Ma et al. (ICLR 2023), section 5.3.
    """

    def __init__(self, restarts: int = 10, seed: int = 0, class_names: list[str] | None = None) -> None:
        super().__init__()
        self.retrieval = RetrievalReport(KS, class_names=class_names)
        self.clustering = ClusteringReport(restarts, seed, class_names=class_names) if restarts else None

    def update(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add a batch of embeddings (B, D) and labels (B,)."""
        self.retrieval.update(embeddings, labels)
        if self.clustering is not None:
            self.clustering.update(embeddings, labels)

    def add_gallery(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add rows (B, D) to search among that are no queries; where there are some, nothing else is searched among."""
        self.retrieval.add_gallery(embeddings, labels)

    def compute(self) -> Searched:
        """Return the results, equal on all ranks."""
        found = self.retrieval.compute()
        clusters = None if self.clustering is None else self.clustering.compute()
        result: dict[str, Any] = {f"recall_at_{k}": value for k, value in found["recall"].items()}
        result |= {name: found[name] for name in ("balanced_recall_at_1", "map_at_r", "r_precision")}  # type: ignore[literal-required]
        result |= {name: clusters[name]["mean"] if clusters else None for name in ("nmi", "ami")}  # type: ignore[literal-required]
        return {**result, "retrieval": found, "clustering": clusters}  # type: ignore[typeddict-item]

    def reset(self) -> None:
        """Forget all rows."""
        self.retrieval.reset()
        if self.clustering is not None:
            self.clustering.reset()


def not_searched() -> Searched:
    """Return the results of an evaluation that saw a part of the images alone."""
    return {**dict.fromkeys(SEARCHED), "retrieval": None, "clustering": None}  # type: ignore[typeddict-item]
