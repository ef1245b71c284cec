"""What `myvlm doctor` looks at: GPU, libraries, weights, store, disk."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from engine.errors import StoreError
from engine.heads.config import list_recognisers
from engine.pipeline.session import Session, faces_can_use_cuda
from engine.vlms.config import list_configs
from engine.vlms.registry import find_weights, fits, how_to_get

ONNX_REPAIR = "pip install --force-reinstall --no-deps onnxruntime-gpu"
"""insightface pulls in CPU onnxruntime, which overwrites onnxruntime-gpu's files; this brings them back."""
LITTLE_DISK_GB = 2.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `warn` limits what myvlm can do, `fail` stops it."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def check_up(session: Session) -> Iterator[Check]:
    """Look at everything, cheapest first; never raises for what it finds."""
    yield from _store(session)
    yield _disk(session.folder)
    yield from _gpu()
    yield _faces()
    yield from _weights()


def _store(session: Session) -> Iterator[Check]:
    folder = session.folder
    try:
        count = len(session.store.all())
    except StoreError as err:
        yield Check("store", "fail", str(err), err.hint)
        return
    if not folder.exists():
        yield Check("store", "ok", f"{folder} (no concepts yet; made when the first is enrolled)")
        return
    yield Check("store", "ok", f"{folder} ({count} concepts)")
    loose = [p for p in (folder, *folder.rglob("*")) if p.stat().st_mode & 0o077]
    if loose and os.name == "posix":
        yield Check("permissions", "warn", f"{loose[0]} can be read by others", f"chmod -R go= {folder}")
    else:
        yield Check("permissions", "ok", "only you can read the store")


def _disk(folder: Path) -> Check:
    folder = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(folder).free / 1e9
    state: Literal["ok", "warn"] = "ok" if free >= LITTLE_DISK_GB else "warn"
    return Check("disk", state, f"{free:.0f} GB free beside the store", "" if state == "ok" else "Make room.")


def _gpu() -> Iterator[Check]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        advice = "" if built else "For a CUDA GPU, install a CUDA build of torch."
        yield Check("GPU", "warn", f"no CUDA GPU that torch {torch.__version__} can use", advice)
        return
    for i in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(i)
        free, total = torch.cuda.mem_get_info(i)
        found = f"{facts.name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, CUDA {torch.version.cuda}"
        yield Check(f"GPU {i}", "ok", found)


def _faces() -> Check:
    import torch

    cuda, gpu = faces_can_use_cuda(), torch.cuda.is_available()
    both = _installed("onnxruntime") and _installed("onnxruntime-gpu")
    if cuda:
        return Check("faces", "ok", "ONNX Runtime has its CUDA provider")
    if both:
        found = "ONNX Runtime has no CUDA provider: CPU onnxruntime lies over onnxruntime-gpu's files"
        return Check("faces", "warn" if gpu else "ok", found, ONNX_REPAIR if gpu else f"Only with a GPU: {ONNX_REPAIR}")
    found = "ONNX Runtime has no CUDA provider"
    return Check("faces", "warn" if gpu else "ok", found, ONNX_REPAIR if gpu else "")


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _weights() -> Iterator[Check]:
    from engine.device import gpu_memory_gb

    gpu = gpu_memory_gb()
    for config in list_configs():
        there, room = find_weights(config) is not None, fits(config, gpu)
        need = config.memory_gb.get("float16") or config.memory_gb.get("float32", 0)
        where = "on disk" if there else "not on disk"
        size = "fits" if room else f"needs a GPU with {need:g} GB"
        advice = "" if there else how_to_get(config)
        yield Check(
            f"VLM {config.name}", "ok" if there and room else "warn", f"{where}, {size}; {config.license}", advice
        )
    for recogniser in list_recognisers():
        faces = recogniser.faces
        there = any(faces.folder.glob("*.onnx"))
        found = f"{faces.folder} {'on disk' if there else 'not on disk'}; {recogniser.license}"
        advice = "" if there else f"Put insightface's {faces.name} there; its licence forbids commercial use."
        yield Check(f"face models {faces.name}", "ok" if there else "warn", found, advice)
