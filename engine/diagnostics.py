"""Check this machine for `myvlm doctor`: store, disk, GPU, libraries, and which models are on disk."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from engine.chosen_models import ChosenModels
from engine.core.config_file import CONFIG_FILE
from engine.core.errors import EngineError, StoreError, WeightsMissingError
from engine.core.nvidia import has_nvidia_gpu
from engine.defaults import Origin, Setting
from engine.session import Session, onnx_can_use_cuda
from engine.vision.config import ENCODER_FILES, RecogniserConfig, list_recognisers
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.registry import CONVERTED, HOW_TO_GET_A_VLM, converted_folder, find_weights, fits

ONNX_REPAIR = "pip install --force-reinstall --no-deps onnxruntime-gpu"
"""insightface pulls in CPU onnxruntime, which overwrites onnxruntime-gpu's files; this brings them back."""
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
    yield from _vlms()
    for recogniser in list_recognisers():
        yield _encoder(recogniser)
        yield _face_pack(recogniser)


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
    """Return the default VLM; `warn` where it is not on this disk, `info` where photos get names only."""
    if models.why_no_vlm:
        found = f"none ({models.vlm_setting.origin.text}), so photos get names only: {models.why_no_vlm}"
        return Check("default vlm", "info", found, HOW_TO_GET_A_VLM)
    try:
        if models.has_vlm:
            models.check_weights()
    except WeightsMissingError as err:
        return Check("default vlm", "warn", str(err), err.hint)
    return _default(models.vlm_setting)


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
    if not has_nvidia_gpu():
        return Check("GPU", "info", "no CUDA GPU here; models run on the CPU")
    found = f"there is an NVIDIA GPU, but torch {version} cannot use it"
    advice = f"Update the NVIDIA driver to one for CUDA {cuda}." if cuda else "Install a CUDA build of torch."
    return Check("GPU", "warn", found, advice)


def _faces() -> Check:
    import torch

    if onnx_can_use_cuda():
        return Check("faces", "ok", "ONNX Runtime can use CUDA")
    if not torch.cuda.is_available():
        return Check("faces", "ok", "ONNX Runtime finds faces on the CPU")
    both = _installed("onnxruntime") and _installed("onnxruntime-gpu")
    why = ": CPU onnxruntime has overwritten onnxruntime-gpu's files" if both else ""
    return Check("faces", "warn", f"ONNX Runtime has no CUDA provider{why}", ONNX_REPAIR)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _vlms() -> Iterator[Check]:
    from engine.core.device import gpu_memory_gb

    gpu = gpu_memory_gb()
    for config in list_configs():
        name = f"VLM {config.name}"
        there, room = find_weights(config) is not None, fits(config, gpu)
        if config.world:
            yield Check(name, "ok" if there else "fail", f"shipped; for the demo's drawings only; {config.license}")
            continue
        need = f"{config.memory_gb['float16']:g} GB of GPU memory"
        here = "" if room else f", and this GPU has {gpu:.0f} GB" if gpu else ", and there is no CUDA GPU here"
        if there:
            found = f"on this disk; {'fits' if room else f'needs {need}{here}'}; licence: {config.license}"
            yield Check(name, "ok" if room else "warn", found)
        else:
            size = f"optional, not on this disk: {config.disk_gb:g} GB; needs {need}{here}"
            yield Check(name, "info", f"{size}; licence: {config.license}", _download_hint(config))


def _download_hint(config: VlmConfig) -> str:
    """Return how to get a VLM's weights, with network and without."""
    if config.repo_id.startswith(CONVERTED):
        name, target = config.repo_id.removeprefix(CONVERTED), converted_folder(config)
        files = "eva_vit_g.pth, minigptv2_checkpoint.pth and the folder Llama-2-7b-chat-hf"
        return (
            f"Run: myvlm models convert {name} --vit FILE --checkpoint FILE --llama FOLDER\n"
            f"It needs {files}. Without network: run that on another machine, and copy its folder to {target}"
        )
    return f"Run: myvlm models pull {config.name}\nWithout network: {_copy_from_hub(config.repo_id)}"


def _copy_from_hub(repo: str) -> str:
    """Return which folder of another machine's hub cache to copy where."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = f"~/.cache/huggingface/hub/models--{repo.replace('/', '--')}"
    return f"run that on another machine, and copy its folder {folder} to {HF_HUB_CACHE}"


def _encoder(recogniser: RecogniserConfig) -> Check:
    """Return the part that recognises pets and things."""
    name, use = f"encoder {recogniser.name}", "recognises pets and things"
    if not recogniser.encoder_repo:
        return Check(name, "ok", f"shipped; {use} in the demo's drawings; licence: {recogniser.license}")
    licence = f"licence: {recogniser.encoder_license}"
    if recogniser.encoder_on_disk:
        return Check(name, "ok", f"on this disk; {use} in photos; {licence}")
    get = f"Run: hf download {recogniser.encoder_repo} {ENCODER_FILES[0]}"
    offline = f"Without network: {_copy_from_hub(recogniser.encoder_repo)}"
    return Check(name, "info", f"not on this disk; {use} in photos; {licence}", f"{get}\n{offline}")


def _face_pack(recogniser: RecogniserConfig) -> Check:
    """Return the part that recognises people."""
    faces, use = recogniser.faces, "recognises people"
    name = f"face models {faces.name}"
    if not faces.files:
        return Check(name, "ok", f"shipped; {use} in the demo's drawings; licence: {recogniser.license}")
    licence = f"licence: {faces.license}"
    if faces.on_disk:
        return Check(name, "ok", f"on this disk; {use} in photos; {licence}")
    force = " --force" if faces.folder.exists() else ""
    get = f"Run: insightface-cli model.download {faces.name}{force}"
    offline = f"Without network: copy {' and '.join(faces.files)} of insightface's {faces.name} pack to {faces.folder}"
    return Check(name, "info", f"not on this disk; {use} in photos; {licence}", f"{get}\n{offline}")
