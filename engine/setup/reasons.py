"""Say why a plan uses a part or leaves it, in phrases, and what there is to say about a plan as a whole."""

from collections.abc import Iterator, Mapping, Sequence

from engine.setup.machine import Machine
from engine.setup.parts import Part, parts_of_recogniser
from engine.setup.speed import LIBRARY, Speed, duration_of_library, recognition_speed
from engine.vision.config import RecogniserConfig
from engine.vlms.config import VlmConfig
from engine.vlms.memory import default_quantisation, fits, least_format, may_be_default, memory_needed
from engine.vlms.quantise import formats_installed


def describe_machine(machine: Machine) -> str:
    """Describe a machine in one line."""
    facts = [f"{machine.system} {machine.arch}", f"{machine.cores} core{'' if machine.cores == 1 else 's'}"]
    if machine.ram_gb:
        facts.append(f"{machine.ram_gb:.0f} GB of {'unified ' if machine.apple_silicon else ''}memory")
    gpu = machine.gpu
    facts.append(f"{gpu.name} with {gpu.memory_gb:.0f} GB" if gpu else "no CUDA GPU")
    return ", ".join([*facts, f"{machine.free_gb:.0f} GB free for models"])


def reason_for_vlm(config: VlmConfig, machine: Machine, *, chosen: bool) -> str:
    """Say why a VLM is used or left: whether it fits, in which number format, and whether a CPU is too slow for it."""
    precision = fits(config, machine.room)
    on_disk = "on this disk" if config.name in machine.on_disk else ""
    if not precision:
        need = _need(config, machine, least_format(config, machine.room))
        return f"{on_disk}, but needs {need}" if on_disk else f"needs {need}"
    if not may_be_default(config, machine.room) and not chosen:
        slow = "too slow without a GPU" if machine.room.device == "cpu" else f"fits only in {precision}"
        return f"{on_disk}; {slow}" if on_disk else slow
    in_format = f" in {precision}" if precision in machine.room.quantised else ""
    if not chosen:
        return f"{on_disk}; fits{in_format}, too" if on_disk else f"fits{in_format}, too"
    if on_disk:
        return f"{on_disk}; fits{in_format}" if in_format else on_disk
    return f"fits: needs {_need(config, machine, precision)}"


def _need(config: VlmConfig, machine: Machine, precision: str) -> str:
    """Return the memory that a VLM needs in a number format, in words."""
    in_format = f" in {precision}" if precision in machine.room.quantised else ""
    words = "GPU memory" if config.size is None else machine.room.words
    return f"{memory_needed(config, precision):g} GB {words}{in_format}"


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
    beside = memory_needed(vlm, fits(vlm, machine.room) or least_format(vlm, machine.room)) if vlm else 0.0
    return machine.gpu is not None and machine.gpu_gb >= beside + config.encoder_memory_gb


def remarks(
    machine: Machine, vlms: Sequence[VlmConfig], vlm: VlmConfig | None, speeds: Mapping[str, Speed]
) -> Iterator[str]:
    """Yield what there is to say about a plan: why there are no sentences, how the VLM runs, where speeds come from.

    vlms: those that there are; vlm: the one that the plan uses. speeds: by the name of the model.
    """
    room = machine.room
    if vlm is None and not any(may_be_default(c, room) for c in vlms):
        yield f"No sentences: {_why_no_vlm(machine, vlms)}. Photos get names."
    if vlm is not None and not fits(vlm, room):
        need = _need(vlm, machine, least_format(vlm, room)).replace(" GB ", " GB of ")
        yield f"{vlm.name} does not fit: it needs {need}."
    elif vlm is not None and fits(vlm, room) in room.quantised and not formats_installed(room.device):
        yield f"{vlm.name} is loaded in {fits(vlm, room)}, which needs: pip install 'myvlm[quantise]'"
    if vlm is not None and room.device == "mps":
        yield f"{vlm.name} runs on Apple's GPU, on which myvlm was not tried."
    if vlm is not None and room.device == "cpu" and fits(vlm, room):
        yield f"{vlm.name} runs on the CPU, which is slow; how slow was not measured. `--vlm none` writes names only."
    if machine.overwritten_provider:
        yield "Faces run on the CPU: the CPU build of onnxruntime has overwritten files of onnxruntime-gpu."
    for source in dict.fromkeys(s.source for s in speeds.values()):
        names = ", ".join(n for n, s in speeds.items() if s.source == source)
        yield f"Photos/s of {names}: {source}."


def _why_no_vlm(machine: Machine, vlms: Sequence[VlmConfig]) -> str:
    if machine.unusable_gpu:
        return "torch cannot use the NVIDIA GPU here; see myvlm doctor"
    room = machine.room
    sizes = {c.name: memory_needed(c, least_format(c, room, default_quantisation(room))) for c in vlms}
    smallest = min((name for name, gb in sizes.items() if gb), key=lambda name: sizes[name], default="")
    least = f" ({smallest}, the smallest, needs {sizes[smallest]:g} GB)" if smallest else ""
    return f"no VLM fits into {room.usable_gb:.1f} GB, the share of {room.words} that it may use{least}"
