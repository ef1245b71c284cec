"""The paper's object head: a linear classifier on features of a frozen encoder (docs/recognition.md)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeadTraining:
    """Settings of one linear head; the defaults are the paper's recipe for CLIP ViT-H/14.

    `scale` multiplies unit features; `balanced` draws as many positives as negatives into each batch.
    """

    steps: int = 500
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch: int = 16
    scale: float = 1.0
    balanced: bool = False


@dataclass(frozen=True)
class LinearHead:
    """weight (2, D), bias (2,): logits of "another thing" and "the concept" for a scaled unit feature."""

    weight: np.ndarray
    bias: np.ndarray
    scale: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Probability of the concept, (N,) in 0..1, for unit features (N, D)."""
        logits = self.scale * features @ self.weight.T + self.bias
        return 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))


def train_head(positives: np.ndarray, negatives: np.ndarray, settings: HeadTraining, seed: int) -> LinearHead:
    """Fit a head: AdamW with cosine annealing and cross entropy, from unit features.

    positives: (P, D), negatives: (M, D) float32; M may be 0, and then every feature scores as positive.
    """
    import engine.core.device  # noqa: F401

    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(seed)
    classifier = torch.nn.Linear(positives.shape[1], 2)
    with torch.no_grad():
        classifier.weight.normal_(0, 0.01, generator=generator)
        classifier.bias.zero_()
    features = settings.scale * torch.from_numpy(np.concatenate([positives, negatives]).astype(np.float32))
    labels = torch.cat([torch.ones(len(positives)), torch.zeros(len(negatives))]).long()
    odds = torch.ones(len(labels))
    if settings.balanced and len(negatives):
        odds = torch.where(labels == 1, 0.5 / len(positives), 0.5 / len(negatives))
    optimizer = torch.optim.AdamW(classifier.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    for _ in range(settings.steps):
        rows = torch.multinomial(odds, settings.batch, replacement=True, generator=generator)
        loss = F.cross_entropy(classifier(features[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    weight, bias = (p.detach().numpy().copy() for p in (classifier.weight, classifier.bias))
    return LinearHead(weight, bias, settings.scale)
