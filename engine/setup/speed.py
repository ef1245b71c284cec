"""Compute how many photos a second a machine can do at most, from what a photo costs and what the machine measured."""

from dataclasses import dataclass

from engine.setup.machine import Gpu, Machine
from engine.vision.config import RecogniserConfig
from engine.vlms.config import VlmConfig, Work
from engine.vlms.size import TEXT_TOKENS

TOKENS = 60
"""New tokens of a caption: one or two sentences."""
LIBRARY = 30_000
"""Photos of a large library, for which durations are told."""


@dataclass(frozen=True)
class Speed:
    """How many photos a second, about or at most.

    at_most: whether it is an upper bound. source: where the figure comes from, in words.
    """

    photos_per_second: float
    at_most: bool
    source: str

    @property
    def days(self) -> float:
        """Days for `LIBRARY` photos."""
        return LIBRARY / self.photos_per_second / 86_400


def caption_speed(config: VlmConfig, machine: Machine, precision: str = "float16") -> Speed | None:
    """Return the bound of a VLM's speed on the GPU; None where there is no basis for a figure.

    A caption costs the photo and the prompt once, and for each new token of a batch the longer of two times: reading
    the weights and the cache, or the arithmetic (roofline; Williams et al. 2009).
    """
    work, gpu = config.work or _work_of(config, precision), machine.gpu
    if work is None or gpu is None or gpu.tflops is None or gpu.gb_per_second is None:
        return None
    reading = (work.step_gb + config.batch * work.cache_gb) / gpu.gb_per_second
    step = max(reading, config.batch * work.step_tflop / gpu.tflops)
    seconds = work.prefill_tflop / gpu.tflops + TOKENS * step / config.batch
    return Speed(1 / seconds, True, _gpu_speed(gpu))


def _work_of(config: VlmConfig, precision: str) -> Work | None:
    """Compute what a caption costs from a VLM's size: two operations for each weight and row; None where it is unknown.

    The vision tower's own rows, of which there are more, are left out, so that this is less than what it costs.
    """
    size = config.size
    if size is None:
        return None
    rows = size.image_tokens + TEXT_TOKENS - TOKENS
    step = 2 * size.linear / 1000
    return Work(rows * step, step, size.weights_gb(precision), rows * size.cache_kb / 1e6)


def recognition_speed(config: RecogniserConfig, machine: Machine) -> Speed | None:
    """Return the speed of a recogniser: as measured for a shipped one, else computed from its encoder's, or None."""
    if config.photos_per_second is not None:
        source = config.sources.get("photos_per_second", "measured on one core")
        return Speed(config.photos_per_second, False, source)
    if config.photo_tflop is None:
        return None
    if machine.gpu is not None:
        tflops = machine.gpu.tflops
        return Speed(tflops / config.photo_tflop, True, _gpu_speed(machine.gpu)) if tflops else None
    if not machine.cpu_gflops:
        return None
    source = f"computed from {machine.cpu_gflops:.0f} GFLOP/s, measured on this CPU just now"
    return Speed(machine.cpu_gflops / 1000 / config.photo_tflop, False, source)


def _gpu_speed(gpu: Gpu) -> str:
    return (
        f"upper bounds, computed from {gpu.tflops or 0:.0f} TFLOP/s and {gpu.gb_per_second or 0:,.0f} GB/s, measured on"
        f" this GPU just now, and {TOKENS} tokens a caption"
    )


def duration_of_library(speed: Speed) -> str:
    """Return how long `LIBRARY` photos take, in words: 42 days, 9 hours, 20 minutes."""
    hours = speed.days * 24
    if hours >= 48:
        return f"{speed.days:,.0f} days"
    return f"{hours:.0f} hours" if hours >= 2 else f"{hours * 60:.0f} minutes"
