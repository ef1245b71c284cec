"""The one model of memory: what a VLM needs in each number format, which one fits, and what is said where none does."""

import os
from dataclasses import dataclass

from engine.core.errors import EnvironmentFault, first_line
from engine.vlms.config import VlmConfig, list_configs

_ON_GPU = ("cuda", "cublas", "hip out of memory", "mps backend")
_USABLE = 0.9
"""Share of a memory that a model may use; the rest is for the system, and on a GPU for the display."""
_SHARED = 0.5
"""Share of a machine's memory that a VLM may use by itself; the rest is for the system and other programs."""
CPU_PARAMETERS = 2.5
"""Billions of parameters of the largest VLM that is chosen by itself for a CPU. Not measured: with 1,400 rows and two
operations a parameter, one of 4 billion takes a minute a photo at 200 GFLOP/s."""
QUANTISED = {"cuda": ("int8", "nf4"), "cpu": ("int8", "nf4"), "mps": ("int8", "int4")}
"""The number formats of quantised weights by kind of device, the least loss first (`engine.vlms.quantise`)."""
_BATCHES = (32, 16)
"""Sizes of batches that are tried on a large GPU. The computed gain of 32 over 8 is 1.8 for a VLM of 7 billion
parameters on an H200, and that of 128 over 32 is 1.2 (roofline; not measured)."""
AS_STORED = "quantised"
"""In place of a number format: that of a checkpoint that is quantised already."""


@dataclass(frozen=True)
class Room:
    """The memory that a VLM may use on a device.

    device: "cuda", "mps" or "cpu". gb: GB of it in all; 0.0 where the system does not tell.
    bfloat16: whether the device calculates in it. quantised: the formats of quantised weights that can be loaded.
    """

    device: str
    gb: float
    bfloat16: bool = False
    quantised: tuple[str, ...] = ()

    @property
    def usable_gb(self) -> float:
        """GB that a VLM may use by itself."""
        return self.gb * (_USABLE if self.device == "cuda" else _SHARED)

    @property
    def words(self) -> str:
        """The kind of memory, for people."""
        return "GPU memory" if self.device == "cuda" else "memory"

    def plain_format(self, config: VlmConfig) -> str:
        """Return the number format of weights that are not quantised.

        The storybook's VLMs and those of the paper keep float32 on a CPU, so that their results stay the same.
        """
        if self.device == "cuda":
            return "bfloat16" if self.bfloat16 else "float16"
        if config.world or (self.device == "cpu" and not (config.backend == "chat" and self.bfloat16)):
            return "float32"
        return "float16" if self.device == "mps" else "bfloat16"

    def formats(self, config: VlmConfig, quantise: str = "auto") -> tuple[str, ...]:
        """List the number formats in which a VLM may be loaded here, the least loss first.

        quantise: "auto" for all, "none", "int8" or "int4" for one.
        """
        if config.size and config.size.quantised_gb is not None:
            return (AS_STORED,)
        plain = (self.plain_format(config),)
        if config.backend != "chat" or quantise == "none":
            return plain
        if quantise == "auto":
            return plain + self.quantised
        return ("int8",) if quantise == "int8" else (QUANTISED[self.device][1],)


def memory_needed(config: VlmConfig, precision: str = "float16", batch: int | None = None) -> float:
    """Return the GB of memory that a VLM needs in a number format; 0.0 where that is not known.

    batch: photos at a time, for a VLM whose size is known; None for the number of its config.
    """
    known = config.memory_gb.get("float16" if precision == "bfloat16" else precision)
    if known is not None:
        return known
    if config.size is None or (config.size.quantised_gb is None and precision == AS_STORED):
        return 0.0
    return round(config.size.needed_gb(precision, config.batch if batch is None else batch), 1)


def memory_by_format(config: VlmConfig) -> dict[str, float]:
    """Return the GB that a VLM needs in each number format for which that is known."""
    if config.size is None:
        return config.memory_gb
    formats = [AS_STORED] if config.size.quantised_gb is not None else ["bfloat16", "int8", "nf4", "float32"]
    return {f: memory_needed(config, f) for f in formats}


def fits(config: VlmConfig, room: Room, quantise: str = "auto") -> str:
    """Return the first number format in which a VLM fits into a memory with a whole batch; "" where none does.

    A VLM whose need is not known does not fit; a storybook's always does.
    """
    formats = room.formats(config, quantise)
    if config.world:
        return formats[0]
    limit = _limit_gb(config, room)
    return next((f for f in formats if 0 < memory_needed(config, f) <= limit), "")


def _limit_gb(config: VlmConfig, room: Room) -> float:
    """Return the GB that a VLM may need here by itself.

    A need that a config states holds room for the system; a computed one does not.
    """
    return room.gb if room.device == "cuda" and config.memory_gb else room.usable_gb


def largest_batch(config: VlmConfig, room: Room, precision: str) -> int:
    """Return how many photos a VLM describes at a time: more than its config says where a CUDA GPU has room for them.

    There the weights, which are read once for each token of a batch, decide the time, until a batch has some dozens.
    """
    if room.device != "cuda" or config.world or config.server is not None:
        return config.batch
    larger = (n for n in _BATCHES if n > config.batch)
    return next((n for n in larger if 0 < _with_batch(config, precision, n) <= room.usable_gb), config.batch)


def _with_batch(config: VlmConfig, precision: str, batch: int) -> float:
    """Return the GB that a VLM needs with a batch of some size; 0.0 where that is not known."""
    known = memory_needed(config, precision, batch)
    if not known or config.size is not None:
        return known
    return known + (batch - config.batch) * config.work.cache_gb if config.work else 0.0


def default_quantisation(room: Room) -> str:
    """Return how a VLM that nobody asked for may be quantised: "auto" or "none"."""
    return "auto" if room.device == "cuda" else "none"


def may_be_default(config: VlmConfig, room: Room) -> bool:
    """Return whether a VLM fits and is quick enough to be used without being asked for.

    Only on a CUDA GPU is it quantised for that: elsewhere quantised weights are slower, or were not tried.
    """
    if not fits(config, room, default_quantisation(room)):
        return False
    small = config.size is not None and config.size.parameters <= CPU_PARAMETERS
    return small or room.device != "cpu" or config.world is not None


def best_format(config: VlmConfig, room: Room, quantise: str = "auto") -> str:
    """Return the number format to load a VLM in: the first that fits with a batch, else with one photo, else plain."""
    formats = room.formats(config, quantise)
    if fitting := fits(config, room, quantise):
        return fitting
    if not room.gb:
        return formats[0]
    return next((f for f in formats if memory_needed(config, f, 1) <= room.gb), formats[0])


def least_format(config: VlmConfig, room: Room, quantise: str = "auto") -> str:
    """Return the number format in which a VLM needs least; for one whose size is not known, that of a CUDA GPU."""
    if config.size is None and not config.world:
        return "float16"
    return min(room.formats(config, quantise), key=lambda f: memory_needed(config, f))


def lack_of_memory(config: VlmConfig, room: Room) -> str:
    """Return in a clause what a VLM on this disk needs and the memory here lacks.

    A VLM that is too slow for a CPU lacks a GPU.
    """
    device = room.device
    here = f"this {'GPU' if room.device == 'cuda' else 'machine'} has {room.gb:.0f} GB"
    if room.device == "cpu" and (config.size is None or config.size.parameters > CPU_PARAMETERS):
        room, here = Room("cuda", room.gb, quantised=QUANTISED["cuda"]), "no CUDA GPU is in use here"
    least = least_format(config, room)
    if room.device == device and memory_needed(config, least) <= room.gb:
        here += f", of which it may use {_limit_gb(config, room):.0f} GB"
    unusual = f" in {least}" if least in room.quantised else ""
    need = f"{memory_needed(config, least):g} GB of {room.words}{unusual}"
    return f"{config.name} is on this disk, but needs {need}, and {here}"


def check_room(config: VlmConfig, device_type: str, precision: str) -> None:
    """Check before a VLM is loaded that the memory of a device is large enough for it at all: for one photo at a time.

    device_type: "cuda", "cpu" or "mps".

    Raises:
        EnvironmentFault: it is not; the message says what the VLM needs, and the hint what would fit.
    """
    on_gpu = device_type == "cuda"
    room = _gpu_gb() if on_gpu else machine_memory_gb()
    need = memory_needed(config, precision, 1)
    if room and need > room:
        raise EnvironmentFault(
            f"{config.name} does not fit: it needs {need:g} GB of {'GPU ' if on_gpu else ''}memory in {precision}, and"
            f" {'this GPU' if on_gpu else 'this machine'} has {room:.0f} GB",
            hint=_what_fits(room, config, precision, on_gpu=on_gpu),
        )


def memory_fault(err: BaseException, config: VlmConfig | None = None, precision: str = "") -> EnvironmentFault:
    """Make the error to show when memory ran out: which memory is full, and what would fit.

    config, precision: the VLM that was being loaded, and its number format; None and "" where anything else was run.
    """
    on_gpu = type(err).__name__ == "OutOfMemoryError" or any(sign in str(err).lower() for sign in _ON_GPU)
    memory_gb = _gpu_gb() if on_gpu else machine_memory_gb()
    size = f" ({memory_gb:.0f} GB)" if memory_gb else ""
    where = f"the memory of {'the GPU' if on_gpu else 'this machine'}{size}"
    what = f"{config.name} does not fit into {where}" if config else f"{where} is full"
    return EnvironmentFault(f"{what}: {first_line(err)}", hint=_what_fits(memory_gb, config, precision, on_gpu=on_gpu))


def _what_fits(memory_gb: float, config: VlmConfig | None, precision: str, *, on_gpu: bool) -> str:
    """List what can help, the least loss first: number format, quantised weights, a smaller VLM, the CPU, no VLM.

    memory_gb: GB of the memory that is full, 0.0 where unknown.
    """
    half = "float16" if on_gpu else "bfloat16"
    room = _USABLE * memory_gb
    ways = ["close other programs that use memory"]
    need = memory_needed(config) if config else 0.0
    if not config and (on_gpu or not memory_gb):
        ways.append(f"use --dtype {half}")
    elif need and precision == "float32" and (need <= room or not memory_gb):
        ways.append(f"use --dtype {half} ({need:g} GB)")
    ways += _smaller_formats(config, precision, room)
    limit = min(room or float("inf"), need or float("inf"))
    small = [c for c in list_configs() if not c.world and 0 < memory_needed(c) < limit]
    if small and (config or memory_gb):
        largest = sorted(small, key=memory_needed)[-_MOST_NAMES:]
        names = ", ".join(f"{c.name} ({memory_needed(c):g} GB)" for c in largest)
        ways.append(f"use a smaller VLM with --dtype {half}: {names}")
    ways += ["use --device cpu (slower)"] if on_gpu else []
    ways.append("caption without a VLM: --vlm none writes names only")
    return f"What can help: {'; '.join(ways)}."


_MOST_NAMES = 4
"""The largest number of smaller VLMs that a hint names."""


def _smaller_formats(config: VlmConfig | None, precision: str, room: float) -> list[str]:
    """List the options that load a VLM quantised, where that is less than in its present format and fits `room` GB."""
    if config is None or config.backend != "chat" or config.size is None or precision == AS_STORED:
        return []
    now = memory_needed(config, precision, 1)
    needs = {option: memory_needed(config, f, 1) for option, f in (("int8", "int8"), ("int4", "nf4"))}
    return [f"use --quantise {o} ({gb:g} GB)" for o, gb in needs.items() if gb < now and (gb <= room or not room)]


def _gpu_gb() -> float:
    from engine.core.device import gpu_memory_gb

    return gpu_memory_gb()


def machine_memory_gb() -> float:
    """Return the memory of this machine in GB; 0.0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, OSError, ValueError):
        return 0.0
