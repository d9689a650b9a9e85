"""Recall@K, MAP@R and R-precision of embeddings, exact on any number of rows and ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from semscale_pl.metrics.embedding_rows import EmbeddingRows, named_class
from semscale_pl.metrics.ranking import Ranking, rank_queries, relevant_counts
from semscale_pl.options import check
from semscale_pl.progress import Progress

KS = (1, 2, 4, 8)


class Retrieval(TypedDict):
    """What a search by embeddings finds, fractions in [0, 1]: means over queries.

    ``recall`` has the ks as text. ``per_class`` has each class that is asked for, by number: ``recall_at_1`` and the
    number of its queries; ``balanced_recall_at_1`` is its mean over these classes. ``class_names`` are those given.
    """

    num_queries: int
    num_gallery: int
    recall: dict[str, float]
    map_at_r: float
    r_precision: float
    balanced_recall_at_1: float | None
    per_class: dict[str, dict[str, float | int]]
    class_names: list[str] | None


class RetrievalReport(EmbeddingRows):
    """Search every embedding's nearest neighbours by cosine, and say how often they have its label.

    Rows added by :meth:`update` are queries and gallery at once, and none is its own neighbour, also where a duplicate
    lies at the same place; with rows added by :meth:`add_gallery` these are the gallery, on whichever rank they were
    added. Results are exact: equal similarities (in float32) count as the mean over their orders, so that
    neither the order of rows nor the number of ranks matters. Beside the rows in float32 it takes about 200 MiB.

    Args:
        ks: of Recall@K.
        progress: show on stderr how far a long search is.
        class_names: names of the classes for messages.

    Raises:
        ValueError: on `compute`, equally on all ranks: no rows; a NaN, infinite or zero row; a class that is asked for
            with no other image in the gallery; a K above the gallery.

    Example:
        >>> import torch
        >>> report = RetrievalReport(ks=[1, 2])
        >>> report.update(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.1, 1.0], [1.0, 1.0]]), torch.tensor([0, 0, 1, 1]))
        >>> report.compute()["recall"]  # the last one's two nearest tie
        {'1': 0.875, '2': 1.0}

    Reference: Ma et al. (ICLR 2023), section 5.3; Musgrave et al. (ECCV 2020), section 3.2.
    """

    gallery: list[Tensor]
    gallery_labels: list[Tensor]

    def __init__(
        self, ks: Sequence[int] = KS, *, progress: bool = True, class_names: list[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(class_names, **kwargs)
        check(ks=list(ks))
        self.ks, self.progress = tuple(sorted(set(ks))), progress
        self.add_state("gallery", [], dist_reduce_fx="cat")
        self.add_state("gallery_labels", [], dist_reduce_fx="cat")

    def add_gallery(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add rows (B, D) with labels (B,) to search among that are no queries themselves."""
        self._computed = None
        self._keep("gallery", "gallery_labels", embeddings, labels)

    def compute(self) -> Retrieval:
        """Return the results; ranks share the queries."""
        queries, labels = self._rows()
        gallery, gallery_labels = self._rows("gallery", "gallery_labels")
        separate = len(gallery_labels) > 0
        if not separate:
            gallery, gallery_labels = queries, labels
        self._check(queries, labels, gallery, gallery_labels, separate)
        found = self._ranked(queries, labels, gallery, gallery_labels, separate)
        first = found.recall[:, self.ks.index(1)] if 1 in self.ks else None
        per_class = {} if first is None else _by_class(first, labels)
        return {
            "num_queries": len(labels),
            "num_gallery": len(gallery_labels),
            "recall": {str(k): _mean(found.recall[:, place]) for place, k in enumerate(self.ks)},
            "map_at_r": _mean(found.map_at_r),
            "r_precision": _mean(found.r_precision),
            "balanced_recall_at_1": _balanced(per_class),
            "per_class": per_class,
            "class_names": self.class_names,
        }

    def _ranked(
        self, queries: Tensor, labels: Tensor, gallery: Tensor, gallery_labels: Tensor, separate: bool
    ) -> Ranking:
        """Rank this rank's share of the queries, and take the others' shares from them."""
        group, rank, ranks = self.process_group, 0, 1
        if self._is_synced and torch.distributed.is_initialized():
            rank, ranks = torch.distributed.get_rank(group), torch.distributed.get_world_size(group)
        mine = torch.arange(rank, len(labels), ranks, device=labels.device)
        own = None if separate else mine
        # The other ranks take as long as the first.
        with Progress("searched for {} images") as shown:
            report = shown if self.progress and rank == 0 else None
            found = rank_queries(queries[mine], labels[mine], gallery, gallery_labels, self.ks, own, report)
        if ranks == 1:
            return found
        # In which order matters to nobody but the classes.
        columns = torch.cat([found.recall, found.map_at_r[:, None], found.r_precision[:, None]], dim=1)
        whole = torch.empty(len(labels), columns.shape[1], dtype=columns.dtype, device=columns.device)
        for other, part in enumerate(gather_all_tensors(columns, group)):
            whole[other::ranks] = part
        return Ranking(whole[:, :-2], whole[:, -2], whole[:, -1])

    def _check(self, queries: Tensor, labels: Tensor, gallery: Tensor, gallery_labels: Tensor, separate: bool) -> None:
        if len(labels) == 0:
            raise ValueError("Expected embeddings to search with, but got none. Call `update` first.")
        if queries.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"Expected queries and gallery of one width, but got {queries.shape[1]} and {gallery.shape[1]} "
                "features. Embed both with the same model."
            )
        others = len(gallery_labels) - int(not separate)
        if max(self.ks) > others:
            raise ValueError(
                f"Expected every K of `ks` to be at most {others}, the gallery images that a query can find, but got "
                f"{max(self.ks)}. Lower it."
            )
        lonely = labels[relevant_counts(labels, gallery_labels, not separate) == 0].unique().tolist()
        if lonely:
            where = "in the gallery" if separate else "beside the query, at least 2 in all"
            raise ValueError(
                f"Expected every class to have an image {where}, but {len(lonely)} have none, for example "
                f"{named_class(lonely[0], self.class_names)}. Leave these classes out, or add images."
            )


def _mean(values: Tensor) -> float:
    # The same whatever the order.
    return math.fsum(values.tolist()) / len(values)


def _by_class(first: Tensor, labels: Tensor) -> dict[str, dict[str, float | int]]:
    order = labels.argsort(stable=True)
    classes, counts = labels[order].unique_consecutive(return_counts=True)
    parts = zip(classes.tolist(), first[order].split(counts.tolist()), strict=True)
    return {str(label): {"recall_at_1": _mean(part), "num_queries": len(part)} for label, part in parts}


def _balanced(per_class: dict[str, dict[str, float | int]]) -> float | None:
    values = [found["recall_at_1"] for found in per_class.values()]
    return math.fsum(values) / len(values) if values else None
