"""Train with checkpoints: an interrupted run resumes from the last one and reaches the same numbers."""

import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import engine.core.device  # noqa: F401

import torch
from torch import Tensor, nn

log = logging.getLogger("storybook")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Device of the training; batches are drawn on the CPU, so that a seed draws the same ones on every machine."""
_SAVE_EVERY_S = 120.0
_IN_LAYER = re.compile(r"(^|\.)(layers?|block)\.\d+\.(?!.*bias)")


_Net = TypeVar("_Net", bound=nn.Module)


def to_device(module: _Net, device: torch.device = DEVICE) -> _Net:
    """Move a module to a device, in place, and return it; transformers' own `to` is not typed for this."""
    nn.Module.to(module, device)
    return module


@dataclass(frozen=True)
class Schedule:
    """Optimiser settings of a stage: a short warm-up, then linear decay to zero.

    Decay ends at each step in `restarts` and begins again from half of the learning rates. Matrices of the transformer
    layers are trained by Muon (Jordan et al. 2024) at `lr`, everything else by AdamW at `adam_lr`. Measured in
    `docs/experiments.md#muon`.
    """

    steps: int
    lr: float = 2e-3
    adam_lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 200
    restarts: tuple[int, ...] = ()

    def factor(self, step: int) -> float:
        """Return the factor of the learning rates at a step, 0..1."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        ends = (*self.restarts, self.steps)
        end = next((e for e in ends if step < e), self.steps)
        begin = max((e for e in ends if e <= step), default=self.warmup)
        height = 1.0 if begin == self.warmup else 0.5
        return height * (1.0 - (step - begin) / max(1, end - begin))


class _Optimizers:
    """One optimiser of two: Muon for the layers' matrices, AdamW for all other parameters."""

    def __init__(self, modules: dict[str, nn.Module], schedule: Schedule) -> None:
        named = [(n, p) for m in modules.values() for n, p in m.named_parameters() if p.requires_grad]
        inner = [p for n, p in named if p.ndim == 2 and _IN_LAYER.search(n)]
        outer = [p for n, p in named if p.ndim != 2 or not _IN_LAYER.search(n)]
        decay = schedule.weight_decay
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(outer, schedule.adam_lr, betas=(0.9, 0.98), weight_decay=decay)
        ]
        if inner:
            self.parts.append(torch.optim.Muon(inner, schedule.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
        self.parameters = inner + outer
        self._rates = [schedule.adam_lr, schedule.lr]

    def step(self, factor: float) -> None:
        for part, rate in zip(self.parts, self._rates, strict=False):
            for group in part.param_groups:
                group["lr"] = rate * factor
            part.step()
            part.zero_grad(set_to_none=True)


def train(
    name: str,
    folder: Path,
    modules: dict[str, nn.Module],
    schedule: Schedule,
    step_losses: Callable[[int], dict[str, Tensor]],
) -> None:
    """Run a stage to its end; `step_losses(step)` must depend on the step and the modules only."""
    path = folder / f"{name}.checkpoint"
    optimizers = _Optimizers(modules, schedule)
    start = _resume(path, modules, optimizers)
    log.info("%s: step %d of %d, %.2f M parameters", name, start, schedule.steps, _millions(optimizers.parameters))
    saved = began = time.monotonic()
    means: dict[str, float] = {}
    for step in range(start, schedule.steps):
        losses = step_losses(step)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(optimizers.parameters, 1.0)
        optimizers.step(schedule.factor(step))
        for key, value in losses.items():
            now = float(value.detach())
            means[key] = 0.98 * means.get(key, now) + 0.02 * now
        if (step + 1) % 200 == 0:
            pace = (step + 1 - start) / (time.monotonic() - began)
            log.info("%s %d (%.1f/s) %s", name, step + 1, pace, " ".join(f"{k} {v:.3f}" for k, v in means.items()))
        if time.monotonic() - saved > _SAVE_EVERY_S or step + 1 == schedule.steps:
            _save(path, step + 1, modules, optimizers)
            saved = time.monotonic()


def _millions(parameters: Iterable[Tensor]) -> float:
    return sum(p.numel() for p in parameters) / 1e6


def _save(path: Path, step: int, modules: dict[str, nn.Module], optimizers: _Optimizers) -> None:
    state: dict[str, object] = {"step": step, "optimizers": [part.state_dict() for part in optimizers.parts]}
    state["modules"] = {name: module.state_dict() for name, module in modules.items()}
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path: Path, modules: dict[str, nn.Module], optimizers: _Optimizers) -> int:
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    for part, saved in zip(optimizers.parts, state["optimizers"], strict=True):
        part.load_state_dict(saved)
    return int(state["step"])


def load_modules(folder: Path, name: str, modules: dict[str, nn.Module]) -> None:
    """Load the modules of a finished stage from its checkpoint."""
    state = torch.load(folder / f"{name}.checkpoint", weights_only=True, map_location="cpu")
    for key, module in modules.items():
        module.load_state_dict(state["modules"][key])
