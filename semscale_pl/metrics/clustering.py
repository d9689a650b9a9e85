"""How well k-means on embeddings finds the classes again: NMI and AMI with an interval over restarts."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from semscale_pl.metrics.embedding_rows import EmbeddingRows
from semscale_pl.options import check
from semscale_pl.progress import Progress
from semscale_pl.statistics import mean_interval


class Agreement(TypedDict):
    """One measure over the restarts: mean, 95 % Student interval (None from one restart), and at the least inertia."""

    mean: float
    low: float | None
    high: float | None
    best: float
    restarts: list[float]


class Clustering(TypedDict):
    """Normalized (arithmetic mean) and adjusted mutual information of clusters and classes."""

    num_samples: int
    num_clusters: int
    nmi: Agreement
    ami: Agreement


class ClusteringReport(EmbeddingRows):
    """Cluster embeddings of length 1 by k-means with as many clusters as classes, and compare with the labels.

    Every restart is a k-means of its own, seeded with ``seed`` plus its number, of which ``best`` is what k-means with
    so many initialisations returns. Rows are sorted before, so that neither their order nor the number of ranks
    matters.

    Args:
        restarts: number of k-means.
        seed: of the first one.
        progress: show on stderr how far a long computation is.
        class_names: names of the classes for messages.

    Raises:
        ValueError: on `compute`, equally on all ranks: fewer than two classes; a NaN, infinite or zero row.

    Reference: Ma et al. (ICLR 2023), section 5.3; AMI: Vinh et al. (JMLR 2010).
    """

    def __init__(
        self,
        restarts: int = 10,
        seed: int = 0,
        *,
        progress: bool = True,
        class_names: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(class_names, **kwargs)
        check(restarts=restarts, seed=seed)
        self.restarts, self.seed, self.progress = restarts, seed, progress

    def compute(self) -> Clustering:
        """Return the results; every rank computes all of them."""
        from sklearn.cluster import KMeans
        from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

        rows, labels = _in_order(*self._rows())
        num_clusters = len(np.unique(labels))
        if num_clusters < 2:
            raise ValueError(f"Expected rows of at least 2 classes to cluster, but got {num_clusters}.")
        inertias, nmi, ami = [], [], []
        with Progress("k-means {}") as shown:
            for restart in range(self.restarts):
                seed = (self.seed + restart) % 2**32
                kmeans = KMeans(num_clusters, n_init=1, random_state=seed).fit(rows)
                inertias.append(float(kmeans.inertia_))
                nmi.append(float(normalized_mutual_info_score(labels, kmeans.labels_)))
                ami.append(float(adjusted_mutual_info_score(labels, kmeans.labels_)))
                if self.progress:
                    shown(restart + 1, self.restarts)
        best = int(np.argmin(inertias))
        return {
            "num_samples": len(labels),
            "num_clusters": num_clusters,
            "nmi": _agreement(nmi, best, 0.0),
            "ami": _agreement(ami, best, -1.0),
        }


def _agreement(values: list[float], best: int, least: float) -> Agreement:
    found = mean_interval(values, bounds=(least, 1.0))
    return {"mean": found.mean, "low": found.low, "high": found.high, "best": values[best], "restarts": values}


def _in_order(rows: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of length 1 in an order that depends on their values alone, with their labels."""
    units = np.ascontiguousarray(normalize(rows.cpu(), dim=1, eps=0.0).numpy())
    units += 0.0  # -0.0 has other bytes
    order = np.lexsort((labels.cpu().numpy(), units.view(f"V{units.shape[1] * units.itemsize}").ravel()))
    return units[order], labels.cpu().numpy()[order]
