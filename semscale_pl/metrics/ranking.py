"""How well nearest neighbours by cosine agree with labels, exact over ties, in tiles of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.metrics.embedding_rows import row_lengths

# Similarities of a tile, and queries of one: 512 x 8,192 take 32 MiB in float64.
TILE, QUERIES = 2**22, 512


class Neighbours(NamedTuple):
    """The nearest gallery rows of some queries, nearest first, and all that tie with the last of them.

    Attributes:
        similarities: (Q, k) float32 cosines, falling.
        relevant: (Q, k) whether the row has the query's label.
        tied: (Q,) rows of the whole gallery as similar as the k-th.
        tied_relevant: (Q,) those of them that have the query's label.
    """

    similarities: Tensor
    relevant: Tensor
    tied: Tensor
    tied_relevant: Tensor


class Ranking(NamedTuple):
    """What a query's neighbours are worth, each float64 and the expected value over orders of what ties.

    Attributes:
        recall: (Q, number of ks) chance that one of the first K neighbours has the query's label.
        map_at_r: (Q,) mean of the precisions at the relevant ranks up to R, over R.
        r_precision: (Q,) relevant share of the first R neighbours.
    """

    recall: Tensor
    map_at_r: Tensor
    r_precision: Tensor


def rank_queries(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    ks: Sequence[int],
    own: Tensor | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Rank the gallery for every query by cosine; R is the number of gallery rows with the query's label.

    Products are summed in float64 and rounded to float32: what is equal then ties, as duplicates do whatever order they
    are multiplied in. Of ties no order is better than another one, so that a result is the mean over all of them: it
    depends neither on the order of rows nor on the number of ranks.

    Args:
        queries: (Q, D) of any lengths but 0.
        labels: (Q,).
        gallery: (G, D).
        gallery_labels: (G,).
        ks: of recall, each at most G, without the query itself.
        own: (Q,) the gallery row that is the query itself, which it never finds; None where the sets are separate.
        report: told how many queries are done, of how many.

    Returns:
        A row for each query, in their order.

    Reference: ties: McSherry and Najork (ECIR 2008); MAP@R: Musgrave et al. (ECCV 2020), section 3.2.
    """
    counts = relevant_counts(labels, gallery_labels, own is not None)
    result = Ranking(
        torch.zeros(len(labels), len(ks), dtype=torch.float64, device=queries.device),
        torch.zeros(len(labels), dtype=torch.float64, device=queries.device),
        torch.zeros(len(labels), dtype=torch.float64, device=queries.device),
    )
    lengths, done = row_lengths(gallery), 0
    for rows in _query_chunks(counts, max(ks)):
        depth = max(max(ks), int(counts[rows].max()))
        skipped = None if own is None else own[rows]
        found = nearest(queries[rows], labels[rows], gallery, gallery_labels, lengths, depth, skipped)
        for whole, part in zip(result, ranking_of(found, counts[rows], ks), strict=True):
            whole[rows] = part
        done += len(rows)
        if report is not None:
            report(done, len(labels))
    return result


def relevant_counts(labels: Tensor, gallery_labels: Tensor, own: bool) -> Tensor:
    """Return R (Q,): gallery rows with each query's label, without the query itself where the sets are the same."""
    ends = gallery_labels.sort().values
    right = torch.searchsorted(ends, labels.contiguous(), right=True)
    return right - torch.searchsorted(ends, labels.contiguous()) - int(own)


def nearest(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    lengths: Tensor,
    depth: int,
    own: Tensor | None = None,
) -> Neighbours:
    """Return the `depth` nearest gallery rows of queries (Q, D), read tile by tile; see :func:`rank_queries`.

    Args:
        lengths: (G,) of the gallery rows.
        depth: at most G, without the query itself.
    """
    unit = queries.double()
    unit /= unit.norm(dim=1, keepdim=True)
    values = torch.empty(len(queries), 0, device=queries.device)
    relevant = torch.empty(len(queries), 0, dtype=torch.bool, device=queries.device)
    for part, similarities in _tiles(unit, gallery, lengths, own):
        # One more than asked for, which shows whether ties with the last one go on.
        near, places = similarities.topk(min(depth + 1, similarities.shape[1]), dim=1)
        same = gallery_labels[part][places] == labels[:, None]
        values, places = torch.cat([values, near], dim=1).topk(min(depth + 1, values.shape[1] + near.shape[1]), dim=1)
        relevant = torch.cat([relevant, same], dim=1).gather(1, places)
    cut = (values[:, depth - 1 : depth] == values[:, depth:]).any(dim=1).nonzero().flatten()
    values, relevant = values[:, :depth], relevant[:, :depth]
    last = values == values[:, -1:]
    tied, tied_relevant = last.sum(dim=1), (last & relevant).sum(dim=1)
    if len(cut):
        tied[cut], tied_relevant[cut] = 0, 0
        skipped = None if own is None else own[cut]
        for part, similarities in _tiles(unit[cut], gallery, lengths, skipped):
            ties = similarities == values[cut, -1:]
            tied[cut] += ties.sum(dim=1)
            tied_relevant[cut] += (ties & (labels[cut, None] == gallery_labels[None, part])).sum(dim=1)
    return Neighbours(values, relevant, tied, tied_relevant)


def ranking_of(found: Neighbours, counts: Tensor, ks: Sequence[int]) -> Ranking:
    """Return what the neighbours of queries are worth, from at least R and max(ks) of them.

    Args:
        counts: (Q,) R, at least 1.
    """
    values, relevant = found.similarities, found.relevant.double()
    ranks = torch.arange(values.shape[1], device=values.device).expand_as(values)
    begins = torch.ones_like(found.relevant)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    group = begins.cumsum(dim=1) - 1
    size = torch.zeros_like(relevant).scatter_add_(1, group, torch.ones_like(relevant))
    hits = torch.zeros_like(relevant).scatter_add_(1, group, relevant)
    # The last group goes on beyond what was kept.
    size.scatter_(1, group[:, -1:], found.tied[:, None].double())
    hits.scatter_(1, group[:, -1:], found.tied_relevant[:, None].double())
    size, hits = size.gather(1, group), hits.gather(1, group)
    first = torch.where(begins, ranks, 0).cummax(dim=1).values
    before = (relevant.cumsum(dim=1) - relevant).gather(1, first)
    place = (ranks - first).double()
    share = hits / size
    # Given that this place is relevant, the mean number of relevant ones up to it.
    up_to = before + place * (hits - 1) / (size - 1).clamp(min=1) + 1
    within = ranks < counts[:, None]
    recall = [_chance(before[:, k - 1], place[:, k - 1] + 1, size[:, k - 1], hits[:, k - 1]) for k in ks]
    return Ranking(
        torch.stack(recall, dim=1),
        torch.where(within, share * up_to / (ranks + 1), 0.0).sum(dim=1) / counts,
        torch.where(within, share, 0.0).sum(dim=1) / counts,
    )


def _chance(before: Tensor, drawn: Tensor, size: Tensor, hits: Tensor) -> Tensor:
    """Return the chance (Q,) of a relevant row before a group of ties, or among so many drawn from it."""
    missed = (before == 0).double()
    for number in range(int(drawn.max())):
        factor = (size - hits - number) / (size - number).clamp(min=1)
        missed = torch.where(number < drawn, missed * factor.clamp(min=0), missed)
    return 1 - missed


def _query_chunks(counts: Tensor, least: int) -> Iterator[Tensor]:
    """Yield the queries in chunks, those with few relevant rows first, smaller where many neighbours are kept."""
    order, start = counts.argsort(stable=True), 0
    while start < len(order):
        deepest = int(counts[order[start : start + QUERIES]].max())
        size = max(1, min(QUERIES, TILE // (8 * max(least, deepest))))
        yield order[start : start + size]
        start += size


def _tiles(unit: Tensor, gallery: Tensor, lengths: Tensor, own: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Yield parts of the gallery with the float32 cosines (Q, T) of unit queries, minus infinity for their own."""
    width = max(1, TILE // max(1, len(unit)))
    for start in range(0, len(gallery), width):
        part = slice(start, start + width)
        others = gallery[part].double() / lengths[part, None]
        similarities = (unit @ others.T).float()
        if own is not None:
            inside = ((own >= start) & (own < start + len(others))).nonzero().flatten()
            similarities[inside, own[inside] - start] = -torch.inf
        yield part, similarities
