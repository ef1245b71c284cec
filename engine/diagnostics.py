"""Check this machine for `myvlm doctor`: store, disk, GPU, libraries, and which models are on disk."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engine.chosen_models import ChosenModels, usual_room
from engine.core.config_file import CONFIG_FILE
from engine.core.errors import EngineError, StoreError
from engine.core.nvidia import has_nvidia_gpu
from engine.defaults import Origin, Setting
from engine.session import Session, onnx_can_use_cuda
from engine.setup.machine import is_provider_overwritten
from engine.setup.parts import Part, command_for, how_to_copy, part_of_vlm, parts_of_recogniser
from engine.setup.repair import ONNX_REPAIR
from engine.vision.config import RecogniserConfig, list_recognisers
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.memory import QUANTISED, Room, fits, least_format, memory_needed
from engine.vlms.preference import PROPOSED
from engine.vlms.registry import HOW_TO_GET_A_VLM, find_weights
from engine.vlms.server.client import Client
from engine.vlms.server.served import find_ollama, name_of, read_served

LITTLE_DISK_GB = 2.0
State = Literal["ok", "info", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """The result of one check.

    state: `info` is no problem but worth knowing, such as a model that could be downloaded; `warn` limits what myvlm
    can do; `fail` stops it. advice: lines, each of which can stand alone.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def run_checks(session: Session) -> Iterator[Check]:
    """Run all checks, cheapest first. Problems are results, never exceptions; nothing is created."""
    yield from _store(session)
    yield _disk(session.folder)
    yield from _defaults(session.models)
    yield from _gpu()
    yield _faces()
    yield from _servers(session.models)
    yield from _vlms()
    for recogniser in list_recognisers():
        parts = parts_of_recogniser(recogniser)
        yield from map(_part, parts)
        if not parts:
            yield _shipped(recogniser)


def _store(session: Session) -> Iterator[Check]:
    folder = session.folder
    if not folder.exists():
        yield Check("store", "info", f"nothing stored yet; myvlm add-concept will create {folder}")
        return
    try:
        count = len(session.store.all())
    except StoreError as err:
        yield Check("store", "fail", str(err), err.hint)
        return
    if not folder.exists():
        yield Check("store", "ok", f"{folder} (no concepts yet; made when the first is enrolled)")
        return
    yield Check("store", "ok", f"{folder} ({count} concept{'' if count == 1 else 's'})")
    loose = [p for p in (folder, *folder.rglob("*")) if p.stat().st_mode & 0o077]
    if loose and os.name == "posix":
        yield Check("permissions", "warn", f"{loose[0]} can be read by other users", f"Run: chmod -R go= {folder}")
    else:
        yield Check("permissions", "ok", "only you can read the store")


def _defaults(models: ChosenModels) -> Iterator[Check]:
    """Return each default with its origin, and what is wrong with `config.toml`."""
    try:
        settings = models.settings
        _ = models.vlm_config, models.recogniser_config, models.device
    except EngineError as err:
        yield Check(CONFIG_FILE, "fail", str(err), err.hint)
        return
    for setting in settings:
        if setting.key == "vlm":
            yield _default_vlm(models)
        elif setting.value is not None:
            yield _default(setting)


def _default(setting: Setting) -> Check:
    value = str(setting.value).lower() if isinstance(setting.value, bool) else str(setting.value)
    chosen = setting.origin is Origin.CONFIG
    return Check(f"default {setting.key}", "ok" if chosen else "info", f"{value} ({setting.origin.text})")


def _default_vlm(models: ChosenModels) -> Check:
    """Return the default VLM; `warn` where it cannot be used, `info` where photos get names only."""
    if models.why_no_vlm:
        found = f"none ({models.vlm_setting.origin.text}), so photos get names only: {models.why_no_vlm}"
        return Check("default vlm", "info", found, HOW_TO_GET_A_VLM)
    try:
        if models.has_vlm:
            models.check_weights()
    except EngineError as err:
        return Check("default vlm", "warn", str(err), err.hint)
    return _default(models.vlm_setting)


def _servers(models: ChosenModels) -> Iterator[Check]:
    """Return what the server of the default VLM serves, and whether Ollama runs here with models that can be used."""
    try:
        server = models.vlm_config.server
        served = read_served(Client(server)) if server else None
    except EngineError:  # the default says why
        return
    if server and served:
        has = ", ".join(served.models or ()) or "no list of models"
        yield Check("VLM server", "ok", f"{server.base} ({served.program}) has: {has}")
    ollama = None if server else find_ollama()
    if ollama and ollama.models:
        found = f"runs here and has vision models: {', '.join(ollama.models)}"
        yield Check("Ollama", "info", found, f"To use one: myvlm config set vlm '{name_of(ollama.models[0])}'")


def _disk(folder: Path) -> Check:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free / 1e9
    if free >= LITTLE_DISK_GB:
        return Check("disk", "ok", f"{free:,.0f} GB free where the store is")
    return Check("disk", "warn", f"{free:.1f} GB free where the store is", f"Free at least {LITTLE_DISK_GB:g} GB.")


def _gpu() -> Iterator[Check]:
    import torch

    if not torch.cuda.is_available():
        yield _no_gpu(torch.__version__, torch.version.cuda)
        return
    for i in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(i)
        free, total = torch.cuda.mem_get_info(i)
        found = f"{facts.name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, CUDA {torch.version.cuda}"
        yield Check(f"GPU {i}", "ok", found)


def _no_gpu(version: str, cuda: str | None) -> Check:
    """Return what it means that torch of a version, built for this CUDA or for none, sees no CUDA GPU."""
    from engine.core.device import has_mps

    if not has_nvidia_gpu():
        on_cpu = "no CUDA GPU here; models run on the CPU"
        found = "VLMs run on Apple's GPU; myvlm was not tried there" if has_mps() else on_cpu
        return Check("GPU", "info", found)
    found = f"there is an NVIDIA GPU, but torch {version} cannot use it"
    advice = f"Update the NVIDIA driver to one for CUDA {cuda}." if cuda else "Install a CUDA build of torch."
    return Check("GPU", "warn", found, advice)


def _faces() -> Check:
    import torch

    if onnx_can_use_cuda():
        return Check("faces", "ok", "ONNX Runtime can use CUDA")
    if not torch.cuda.is_available():
        return Check("faces", "ok", "ONNX Runtime finds faces on the CPU")
    why = ": CPU onnxruntime has overwritten onnxruntime-gpu's files" if is_provider_overwritten() else ""
    return Check("faces", "warn", f"ONNX Runtime has no CUDA provider{why}", f"Run: myvlm setup, or {ONNX_REPAIR}")


def _vlms() -> Iterator[Check]:
    """Return each VLM that is on this disk, those of the paper, and those that setup proposes."""
    room = usual_room()
    room = replace(room, quantised=QUANTISED[room.device])
    for config in list_configs():
        name, there = f"VLM {config.name}", find_weights(config) is not None
        if config.world:
            yield Check(name, "ok" if there else "fail", f"shipped; for the demo's drawings only; {config.license}")
        elif there or config.name in PROPOSED or config.backend != "chat":
            yield _vlm(config, room, there=there)


def _vlm(config: VlmConfig, room: Room, *, there: bool) -> Check:
    """Return whether a VLM for real photos is on this disk, and in which number format it fits."""
    precision = fits(config, room)
    least = precision or least_format(config, room)
    words = "GPU memory" if config.size is None else room.words
    need = f"{memory_needed(config, least):g} GB of {words}{f' in {least}' if config.size else ''}"
    name = f"VLM {config.name}"
    if there:
        found = f"on this disk; {f'fits: {need}' if precision else f'needs {need}{_lack(room)}'}"
        return Check(name, "ok" if precision else "warn", f"{found}; licence: {config.license}")
    size = f"optional, not on this disk: {config.disk_gb:g} GB; needs {need}{'' if precision else _lack(room)}"
    return Check(name, "info", f"{size}; licence: {config.license}", _how_to_get(part_of_vlm(config)))


def _lack(room: Room) -> str:
    """Say in a clause how much memory there is for a VLM that does not fit."""
    if room.device == "cuda":
        return f", and this GPU has {room.gb:.0f} GB"
    return f", and there is no CUDA GPU here; it may use {room.usable_gb:.0f} GB of memory"


def _how_to_get(part: Part) -> str:
    """Return how to get a part, with network and without."""
    if not part.is_converted:
        return f"Run: myvlm setup, or {command_for(part)}\nWithout network: {how_to_copy(part)}"
    files = "eva_vit_g.pth, minigptv2_checkpoint.pth and the folder Llama-2-7b-chat-hf"
    return f"Run: {command_for(part)}\nIt needs {files}. Without network: {how_to_copy(part)}"


def _part(part: Part) -> Check:
    """Return a part of a recogniser that is not shipped."""
    name = f"{'face models' if part.kind == 'faces' else 'encoder'} {part.name}"
    facts = f"recognises {part.enables.replace(', ', ' and ')} in photos; licence: {part.license}"
    if part.on_disk:
        return Check(name, "ok", f"on this disk; {facts}")
    return Check(name, "info", f"not on this disk: {part.disk_gb:g} GB; {facts}", _how_to_get(part))


def _shipped(config: RecogniserConfig) -> Check:
    """Return a recogniser that is shipped."""
    where = "the demo's drawings" if config.drawn_only else "photos"
    found = f"shipped; recognises people, pets and things in {where}; licence: {config.license}"
    return Check(f"recogniser {config.name}", "ok", found)
