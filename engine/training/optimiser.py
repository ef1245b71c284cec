"""Optimise one concept embedding for one frozen VLM (docs/method.md, section 1). Returns values and does no I/O."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import engine.core.device  # noqa: F401

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.core.errors import DivergedError, is_out_of_memory
from engine.training.augment import augment
from engine.training.questions import Turn
from engine.training.views import Views
from engine.vlms.base import Losses, Vlm
from engine.vlms.config import Training
from engine.vlms.prefix import PrefixVlm

_Compute = Callable[[], tuple[Losses, torch.dtype]]
"""Computes the losses of one step; also returns the number format of the photos' features."""
MOST_PHOTOS = 8
"""The largest number of photos in one step; of more photos, this many are drawn anew at each step."""


@dataclass(frozen=True)
class TrainingExample:
    """A training photo, its captions, and its questions with answers.

    Every caption holds the concept's identifier. Where there are questions, each of them is drawn as often as the
    request for a caption.
    """

    image: Image.Image
    captions: tuple[str, ...]
    questions: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Step:
    """One finished optimisation step, counted from 1; losses are those before the update."""

    step: int
    steps: int
    cross_entropy: float
    penalty: float


def draw_turn(example: TrainingExample, request: str, rng: np.random.Generator) -> tuple[str, str]:
    """Draw a request and its answer, uniformly over the questions and the request for a caption.

    This is the paper's mix. The reference draws differently and drifts to 92 % captions.
    """
    turns = (Turn(request, example.captions), *example.questions)
    turn = turns[int(rng.integers(len(turns)))] if example.questions else turns[0]
    return turn.request, turn.answers[int(rng.integers(len(turn.answers)))]


class EmbeddingTrainer:
    """AdamW on one raw embedding; only its direction matters, because every forward pass normalises it.

    The same seed gives the same embedding on a CPU, whether or not the training was interrupted: what a step draws
    depends only on the seed and the step.
    """

    def __init__(
        self,
        vlm: Vlm,
        examples: Sequence[TrainingExample],
        request: str,
        settings: Training,
        seed: int,
        *,
        penalty_weight: float | None = None,
    ) -> None:
        """Start with numbers drawn uniformly from [0, 1), divided by their L2 norm.

        request: the request for a caption. penalty_weight: used instead of the λ of the VLM's config.
        """
        self.vlm, self.examples, self.request, self.settings, self.seed = vlm, examples, request, settings, seed
        self.penalty_weight = penalty_weight
        self.views = Views(vlm, [e.image for e in examples], settings, seed) if settings.views else None
        generator = torch.Generator().manual_seed(seed)
        initial = torch.rand(1, vlm.width, generator=generator)  # (1, D)
        self.embedding = torch.nn.Parameter((initial / initial.norm()).to(vlm.device))  # (1, D)
        self.optimizer = torch.optim.AdamW(
            [self.embedding], lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step = 0
        self._encoded: dict[tuple[str, str], tuple[Any, Any]] = {}

    def run(self) -> Iterator[Step]:
        """Train to the end, one step for each iteration; stop iterating to pause.

        Raises:
            DivergedError: the numbers are no longer finite, or no gradient reaches the embedding.
        """
        while self.step < self.settings.steps:
            yield self._advance()

    def _advance(self) -> Step:
        """Take one optimisation step."""
        rng = np.random.default_rng((self.seed, self.step))
        batch = self._draw(rng)
        losses, dtype = self._backward(self._fresh(batch, rng) if self.views is None else self._viewed(batch, rng))
        norm = torch.nn.utils.clip_grad_norm_([self.embedding], self.settings.clip)
        self._check_finite(losses.total.detach(), norm, dtype)
        self._check_gradient(norm)
        self.optimizer.step()
        self.step += 1
        return Step(
            self.step, self.settings.steps, float(losses.cross_entropy.detach()), float(losses.penalty.detach())
        )

    def _backward(self, compute: _Compute) -> tuple[Losses, torch.dtype]:
        """Compute losses and the gradient; where memory runs out, fewer views are kept, and it is done again."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                losses, dtype = compute()
                losses.total.backward()
                return losses, dtype
            except (RuntimeError, MemoryError) as err:
                if self.views is None or not is_out_of_memory(err):
                    raise
                failed = err.with_traceback(None)  # the traceback would keep the step's tensors alive
            if not self.views.keep_less():
                raise failed

    def _fresh(self, batch: Sequence[int], rng: np.random.Generator) -> _Compute:
        """Draw a step with a new view of each photo; returns what computes its losses over the whole sequences."""
        examples = [self.examples[i] for i in batch]
        images = [augment(e.image, rng) if self.settings.augment else e.image for e in examples]
        ids, labels = self._encode_turns(batch, rng)

        def compute() -> tuple[Losses, torch.dtype]:
            image_features = self.vlm.encode(self.vlm.preprocess(images))
            rows = self.vlm.inject(image_features, [self.embedding] * len(batch))  # B of (N + 1, D)
            losses = self.vlm.loss(rows, [1] * len(batch), ids, labels, penalty_weight=self.penalty_weight)
            return losses, image_features.dtype

        return compute

    def _viewed(self, batch: Sequence[int], rng: np.random.Generator) -> _Compute:
        """Draw a step with one of the photos' views; returns what computes its losses from what is kept of them."""
        views = cast(Views, self.views)
        view = views.view_at(self.step)
        ids, labels = self._encode_turns(batch, rng)

        def compute() -> tuple[Losses, torch.dtype]:
            features = [views.features(photo, view) for photo in batch]
            if views.have_prefixes:
                prefixes = [views.prefix(photo, view, i) for photo, i in zip(batch, ids, strict=True)]
                seen = list(zip(features, prefixes, strict=True))
                losses = cast(PrefixVlm, self.vlm).loss_behind(
                    seen, self.embedding, ids, labels, penalty_weight=self.penalty_weight
                )
            else:
                rows = [row for f in features for row in self.vlm.inject(f, [self.embedding])]  # B of (N + 1, D)
                losses = self.vlm.loss(rows, [1] * len(batch), ids, labels, penalty_weight=self.penalty_weight)
            return losses, features[0].dtype

        return compute

    def _encode_turns(self, batch: Sequence[int], rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
        """Draw a request and an answer for each photo; returns them in the form that the VLM's losses take."""
        turns = [draw_turn(self.examples[i], self.request, rng) for i in batch]
        for turn in turns:
            if turn not in self._encoded:
                self._encoded[turn] = self.vlm.encode_example(*turn)
        ids, labels = zip(*(self._encoded[turn] for turn in turns), strict=True)
        return list(ids), list(labels)

    def _check_finite(self, loss: Tensor, norm: Tensor, dtype: torch.dtype) -> None:
        """Check that a step can be taken.

        Raises:
            DivergedError: the loss or the gradient's norm is not finite.
        """
        for name, value in (("loss", loss), ("gradient", norm)):
            if not torch.isfinite(value):
                steps, number_format = self.settings.steps, str(dtype).removeprefix("torch.")
                raise DivergedError(
                    f"the {name} is {float(value)} at step {self.step + 1} of {steps}, in {number_format}",
                    hint="Train with --dtype float32 or --dtype bfloat16.",
                )

    def _check_gradient(self, norm: Tensor) -> None:
        """Check at the first step that a gradient reaches the embedding: some quantised layers let none pass, silently.

        Raises:
            DivergedError: its norm is zero.
        """
        if self.step == 0 and not norm:
            raise DivergedError(
                f"no gradient passes through the frozen layers of {self.vlm.config.name}, so that nothing can be"
                " learned",
                hint="Train with --quantise none, or use a checkpoint that is not quantised.",
            )

    def _draw(self, rng: np.random.Generator) -> Sequence[int]:
        """Return the examples of one step by their indices: all, or `MOST_PHOTOS` drawn without replacement."""
        if len(self.examples) <= MOST_PHOTOS:
            return range(len(self.examples))
        return [int(i) for i in rng.choice(len(self.examples), MOST_PHOTOS, replace=False)]

    def state(self) -> dict[str, Tensor]:
        """Return everything that `restore` needs: raw embedding (1, D), AdamW's moments and the step, on the CPU."""
        moments = self.optimizer.state[self.embedding]
        tensors = {"embedding": self.embedding.detach().cpu(), "step": torch.tensor(self.step)}
        if moments:
            tensors |= {key: moments[key].detach().cpu() for key in ("exp_avg", "exp_avg_sq")}
        return tensors

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
        self.step = int(state["step"])
        with torch.no_grad():
            self.embedding.copy_(state["embedding"])
        if "exp_avg" in state:
            self.optimizer.state[self.embedding] = {
                "step": torch.tensor(float(self.step)),
                **{key: state[key].to(self.embedding.device).clone() for key in ("exp_avg", "exp_avg_sq")},
            }

    def result(self) -> Tensor:
        """Return the trained embedding in the form in which it is used: (1, D) float32, unit length, on the CPU."""
        embedding = self.embedding.detach().float().cpu()  # (1, D)
        return embedding / embedding.norm(dim=-1, keepdim=True)
