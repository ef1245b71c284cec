"""Train and apply the paper's object head: a linear classifier on features of a frozen encoder.

See docs/recognition.md, The paper's heads.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeadTraining:
    """Training settings of a linear head; the defaults are the paper's recipe for CLIP ViT-H/14.

    steps: optimizer steps. batch: features in each step, drawn with replacement. scale: factor of the unit features.
    balanced: whether positives and negatives are drawn equally often, whatever their numbers.
    """

    steps: int = 500
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch: int = 16
    scale: float = 1.0
    balanced: bool = False


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier with two classes: 0 is another thing, 1 is the concept.

    weight (2, D) and bias (2,) give the logits of a unit feature multiplied by `scale`.
    """

    weight: np.ndarray
    bias: np.ndarray
    scale: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the softmax probability of the concept, (N,) in 0..1, for unit features (N, D)."""
        logits = self.scale * features @ self.weight.T + self.bias
        return 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))


def train_head(positives: np.ndarray, negatives: np.ndarray, settings: HeadTraining, seed: int) -> LinearHead:
    """Train a head on unit features with AdamW, cosine annealing of the learning rate, and cross entropy.

    positives: (P, D), negatives: (M, D) float32. Without negatives (M = 0) the head scores every feature as positive.
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
    draw_weights = torch.ones(len(labels))
    if settings.balanced and len(negatives):
        draw_weights = torch.where(labels == 1, 0.5 / len(positives), 0.5 / len(negatives))
    optimizer = torch.optim.AdamW(classifier.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    for _ in range(settings.steps):
        rows = torch.multinomial(draw_weights, settings.batch, replacement=True, generator=generator)
        loss = F.cross_entropy(classifier(features[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    weight, bias = (p.detach().numpy().copy() for p in (classifier.weight, classifier.bias))
    return LinearHead(weight, bias, settings.scale)
