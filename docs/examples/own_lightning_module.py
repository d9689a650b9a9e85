"""Semantic-scale balancing in a LightningModule of your own: three lines in its training_step.

Run it: python docs/examples/own_lightning_module.py
"""

from __future__ import annotations

import semscale_pl as ss

# isort: split
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class LongTailedBlobs(Dataset[tuple[Tensor, int, int]]):
    """Four Gaussian classes of 200, 60, 20 and 6 points; each item is (features, label, index)."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.repeat_interleave(torch.arange(4), torch.tensor([200, 60, 20, 6]))
        centres = torch.randn(4, 8, generator=generator)
        self.points = centres[self.labels] + 0.8 * torch.randn(286, 8, generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return self.points[index], int(self.labels[index]), index


class MyModule(pl.LightningModule):
    """Any module with a slot: `weighting` starts as None, the callback fills it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh())
        self.classifier = nn.Linear(16, 4)
        self.weighting: ss.Weighting | None = None

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the weighted loss."""
        points, labels, indices = batch
        features = self.backbone(points)
        logits = self.classifier(features)
        # The three lines: ask the slot, take one loss a sample, reduce them with the weights.
        terms = ss.terms_of(self.weighting, ss.StepInputs(features, logits, labels, indices))
        losses = nn.functional.cross_entropy(ss.adjusted_logits(logits, terms), labels, reduction="none")
        return ss.weighted_mean(losses, labels, terms)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Use plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> ss.SemanticScaleReweighting:
    """Train for ten epochs and show what the callback learned about the classes."""
    torch.manual_seed(0)
    data = LongTailedBlobs()
    # Without a datamodule that knows them, the callback is told the number of classes and of images.
    balancing = ss.SemanticScaleReweighting(start_epoch=2, num_classes=4, capacity=len(data))
    trainer = pl.Trainer(
        max_epochs=10,
        accelerator="cpu",
        devices=1,
        callbacks=[balancing],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(MyModule(), DataLoader(data, batch_size=32, shuffle=True))
    print("semantic scales in bits:", [round(scale, 2) for scale in balancing.scales.tolist()])
    print("class weights:          ", [round(weight, 2) for weight in balancing.weights.tolist()])
    return balancing


if __name__ == "__main__":
    main()
