"""Semantic-scale balancing without Lightning: the pool and the weights in a plain training loop.

Run it: python docs/examples/plain_loop.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import semscale_pl as ss


def long_tailed_blobs() -> tuple[Tensor, Tensor]:
    """Return points (286, 8) of four Gaussian classes of 200, 60, 20 and 6, and their labels (286,)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([200, 60, 20, 6]))
    centres = torch.randn(4, 8, generator=generator)
    return centres[labels] + 0.8 * torch.randn(286, 8, generator=generator), labels


def main() -> tuple[ss.FeaturePool, Tensor]:
    """Train for ten epochs; from the third on, weight each class by the inverse of its semantic scale imbalance."""
    torch.manual_seed(0)
    points, labels = long_tailed_blobs()
    backbone = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh())
    classifier = nn.Linear(16, 4)
    optimizer = torch.optim.SGD([*backbone.parameters(), *classifier.parameters()], lr=0.1)
    pool = ss.FeaturePool(capacity=len(points), num_features=16, num_classes=4)
    weights = torch.ones(4)
    for epoch in range(10):
        for indices in torch.randperm(len(points)).split(32):
            features = backbone(points[indices])
            losses = nn.functional.cross_entropy(classifier(features), labels[indices], reduction="none")
            pool.push(features.detach(), labels[indices], indices)
            if epoch >= 2:
                geometry = pool.geometry()
                weights = ss.scales_to_weights(geometry.imbalance, geometry.counts)
            loss = ss.weighted_mean(losses, labels[indices], ss.StepTerms(class_weights=weights))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print("semantic scales in bits:", [round(scale, 2) for scale in pool.scales().tolist()])
    print("class weights:          ", [round(weight, 2) for weight in weights.tolist()])
    return pool, weights


if __name__ == "__main__":
    main()
