"""Check that a fetched part works: load it where the memory allows, else look at its files."""

import warnings
from dataclasses import replace

from engine.core.device_memory import free_memory
from engine.core.errors import EnvironmentFault
from engine.setup.machine import Machine
from engine.setup.parts import Part
from engine.vision.config import RecogniserConfig
from engine.vlms.config import VlmConfig
from engine.vlms.memory import Room, fits, least_format, memory_needed
from engine.vlms.quantise import formats_installed, quantise_option
from engine.vlms.registry import check_weights, load_vlm

_COPIES = 2.5
"""Memory for loading an encoder on the CPU, in sizes of its file: the weights, the model, and a margin."""


def verify_part(part: Part, machine: Machine) -> str:
    """Check a part, and return in a phrase what was checked.

    Raises:
        EngineError: it cannot be loaded, or its files are damaged.
    """
    if isinstance(part.config, VlmConfig):
        return _verify_vlm(part.config, machine)
    return _verify_encoder(part.config, machine) if part.kind == "encoder" else _verify_faces(part.config)


def _verify_vlm(config: VlmConfig, machine: Machine) -> str:
    room = replace(machine.room, quantised=formats_installed(machine.room.device))
    precision = fits(config, room)
    if not precision or room.device == "cpu":
        check_headers(config)
        return f"its files were checked, but it was not loaded{_why_not_loaded(config, room, precision)}"
    from engine.core.device import pick_device, pick_dtype

    device = pick_device()
    load_vlm(config, device, pick_dtype(room.plain_format(config), device), quantise_option(precision))
    free_memory()
    return "it was loaded"


def _why_not_loaded(config: VlmConfig, room: Room, precision: str) -> str:
    """Say why a VLM was not loaded, after a colon; "" where its need is not known."""
    least = precision or least_format(config, room)
    if precision or not memory_needed(config, least):
        return ""
    words = "GPU memory" if config.size is None else room.words
    return f": it needs {memory_needed(config, least):g} GB of {words}"


def check_headers(config: VlmConfig) -> None:
    """Check that all safetensors of a VLM are whole: their headers fit their sizes, and no file is missing.

    Raises:
        EnvironmentFault: a file is damaged or missing.
    """
    from safetensors import SafetensorError, safe_open

    from engine.setup.checksums import missing_shards

    folder = check_weights(config)
    if lacking := missing_shards(folder):
        raise EnvironmentFault(f"{config.name} lacks {', '.join(lacking)}", hint=f"In {folder}. Fetch it again.")
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as weights:
                weights.keys()
        except (SafetensorError, OSError) as err:
            raise EnvironmentFault(f"{path} is damaged: {err}", hint="Delete it, and fetch it again.") from err


def _verify_encoder(config: RecogniserConfig, machine: Machine) -> str:
    if machine.ram_gb and machine.ram_gb < _COPIES * config.encoder_gb:
        return "its file was checked, but it was not loaded: this machine has too little memory"
    from engine.core.device import pick_device, pick_dtype

    from engine.vision.encoder import EncoderSource, ImageEncoder

    device = pick_device()
    ImageEncoder(EncoderSource(config.name, config.encoder, config.pretrained), device, pick_dtype("auto", device))
    free_memory()
    return "it was loaded"


def _verify_faces(config: RecogniserConfig) -> str:
    from engine.vision.faces import FaceAnalyser

    faces = config.faces
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FaceAnalyser(faces.folder, name=faces.name, det_size=faces.det_size, use_cuda=False)
    return "it was loaded"
