"""Say why a plan uses a part or leaves it, in phrases, and what there is to say about a plan as a whole."""

from collections.abc import Iterator, Mapping, Sequence

from engine.setup.machine import Machine
from engine.setup.parts import Part, parts_of_recogniser
from engine.setup.speed import LIBRARY, Speed, duration_of_library, recognition_speed
from engine.vision.config import RecogniserConfig
from engine.vlms.config import VlmConfig
from engine.vlms.registry import fits


def describe_machine(machine: Machine) -> str:
    """Describe a machine in one line."""
    facts = [f"{machine.system} {machine.arch}", f"{machine.cores} core{'' if machine.cores == 1 else 's'}"]
    if machine.ram_gb:
        facts.append(f"{machine.ram_gb:.0f} GB of {'unified ' if machine.apple_silicon else ''}memory")
    gpu = machine.gpu
    facts.append(f"{gpu.name} with {gpu.memory_gb:.0f} GB" if gpu else "no CUDA GPU")
    return ", ".join([*facts, f"{machine.free_gb:.0f} GB free for models"])


def reason_for_vlm(config: VlmConfig, machine: Machine, *, chosen: bool) -> str:
    """Say why a VLM is used or left: whether it fits."""
    need = f"needs {config.memory_gb.get('float16', 0.0):g} GB GPU memory"
    on_disk = "on this disk" if config.name in machine.on_disk else ""
    if not fits(config, machine.gpu_gb):
        return f"{on_disk}, but {need}" if on_disk else need
    if chosen:
        return on_disk or f"fits: {need}"
    return f"{on_disk}; fits, too" if on_disk else "fits, too"


def reason_for_part(
    part: Part, machine: Machine, vlm: VlmConfig | None, *, chosen: bool, declined: frozenset[str]
) -> str:
    """Say why a part of a recogniser is used or left.

    vlm: the VLM of the plan, with which the part shares the GPU. declined: parts whose licence was not accepted.
    """
    assert isinstance(part.config, RecogniserConfig)
    if part.name in declined:
        return "its licence was not accepted"
    if chosen and part.name in machine.on_disk:
        return "on this disk"
    if chosen:
        return "a stronger recogniser" if part.kind == "encoder" else f"belongs to {part.config.name}"
    if any(p.name in declined for p in parts_of_recogniser(part.config)):
        return "not without the parts that were left out"
    if part.kind == "faces":
        return f"belongs to {part.config.name}"
    if machine.gpu is None:
        speed = recognition_speed(part.config, machine)
        return f"{LIBRARY:,} photos: {duration_of_library(speed)}" if speed else "too slow without a CUDA GPU"
    beside = f" beside {vlm.name}" if vlm else ""
    if not has_room(part.config, machine, vlm):
        return f"needs {part.config.encoder_memory_gb:g} GB GPU memory{beside}"
    return "fits, too"


def has_room(config: RecogniserConfig, machine: Machine, vlm: VlmConfig | None) -> bool:
    """Return whether a recogniser's encoder fits into the GPU's memory beside a VLM; False without a GPU."""
    beside = vlm.memory_gb.get("float16", 0.0) if vlm else 0.0
    return machine.gpu is not None and machine.gpu_gb >= beside + config.encoder_memory_gb


def remarks(
    machine: Machine, vlms: Sequence[VlmConfig], vlm: VlmConfig | None, speeds: Mapping[str, Speed]
) -> Iterator[str]:
    """Yield what there is to say about a plan: why there are no sentences, and where the speeds come from.

    vlms: those that there are; vlm: the one that the plan uses. speeds: by the name of the model.
    """
    smallest = min(vlms, key=lambda c: c.memory_gb.get("float16", float("inf")), default=None)
    if vlm is None and smallest is not None and not fits(smallest, machine.gpu_gb):
        least = f"{smallest.name}, the smallest, needs {smallest.memory_gb['float16']:g} GB"
        yield f"No sentences: {_why_no_vlm(machine)} ({least}). Photos get names."
    if vlm is not None and not fits(vlm, machine.gpu_gb):
        yield f"{vlm.name} does not fit: it needs {vlm.memory_gb['float16']:g} GB of GPU memory."
    if machine.overwritten_provider:
        yield "Faces run on the CPU: the CPU build of onnxruntime has overwritten files of onnxruntime-gpu."
    for source in dict.fromkeys(s.source for s in speeds.values()):
        names = ", ".join(n for n, s in speeds.items() if s.source == source)
        yield f"Photos/s of {names}: {source}."


def _why_no_vlm(machine: Machine) -> str:
    if machine.gpu is not None:
        return f"no VLM fits into {machine.gpu_gb:.0f} GB of GPU memory"
    if machine.unusable_gpu:
        return "torch cannot use the NVIDIA GPU here; see myvlm doctor"
    if machine.apple_silicon:
        return "VLMs need a CUDA GPU; Apple's is not used"
    return "VLMs need a CUDA GPU"
