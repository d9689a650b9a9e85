"""Train embeddings in a plain loop on several gloo ranks, and leave what each ends with in a folder.

Run as a script: `python embedding_scenario.py RANKS FOLDER`. A rank's share of a global batch may be empty.
"""

from __future__ import annotations

import sys
from typing import Any

import semscale_pl as ss  # before Lightning: it lets torchvision load beside a CPU-only torch

# isort: split
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from semscale_pl.distributed import gather_rows, rank, world_size
from semscale_pl.losses.metric_learning import ProxyAnchor, SoftTriple
from semscale_pl.models.centres import CentreClassifier
from semscale_pl.models.classifiers import CosineClassifier
from semscale_pl.models.vectors import MLP
from semscale_pl.modules.embedding import EmbeddingModel

# Rows of the global batches: 7 and 5 are uneven, 1 leaves the second rank without any.
BATCHES = (8, 7, 1, 5, 8)
CASES = {"proxy_anchor": (CosineClassifier, ProxyAnchor), "soft_triple": (CentreClassifier, SoftTriple)}


def train(case: str) -> dict[str, Tensor]:
    """Take a step for each of the batches with class weights and return the parameters and the losses."""
    torch.manual_seed(0)
    head, loss = CASES[case]
    module = EmbeddingModel(MLP(5, hidden=6), head(4, 3), loss(), num_classes=3, dim=4).double()
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    module.weighting = lambda _: ss.StepTerms(class_weights=torch.tensor([0.5, 1.0, 3.0]))  # type: ignore[assignment]
    rows, labels = torch.randn(30, 5, dtype=torch.float64), torch.arange(30) % 3
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for number, size in enumerate(BATCHES):
        mine = torch.arange(30).roll(7 * number)[:size].tensor_split(world_size())[rank()]
        value = module.training_step((rows[mine], labels[mine], mine), number)["loss"]
        optimizer.zero_grad()
        value.backward()
        for parameter in module.parameters():
            parameter.grad = averaged(parameter.grad)
        optimizer.step()
        losses.append(averaged(value.detach()))
    return {"losses": torch.stack(losses), **{name: one.detach() for name, one in module.named_parameters()}}


def averaged(value: Any) -> Tensor:
    """Return the mean over the ranks, as DDP takes it of gradients."""
    return torch.stack(gather_rows(value[None])).flatten(0, 1).mean(dim=0)


def work(own: int, ranks: int, folder: str) -> None:
    """Join the group and leave the results of all cases."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=own, world_size=ranks)
    torch.save({case: train(case) for case in CASES}, f"{folder}/rank{own}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.start_processes(work, args=(int(sys.argv[1]), sys.argv[2]), nprocs=int(sys.argv[1]), start_method="fork")
