"""Fetch a part from the network: disk space first, then the files, then their checksums."""

import errno
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from engine.core.errors import EnvironmentFault, UsageError, first_line
from engine.core.paths import go_online
from engine.setup.checksums import check_files
from engine.setup.hub import (
    AGAIN,
    Repository,
    UnreachableError,
    check_family,
    hub_error,
    read_repository,
    select_weights,
)
from engine.setup.machine import free_gb, hub_cache
from engine.setup.parts import Part, command_for, find_part, how_to_copy, part_of_vlm
from engine.vision.config import ENCODER_FILES, FaceSource
from engine.vlms.config import VlmConfig, chat_families

SPARE_GB = 0.5
"""Space that stays free after a download."""
Say = Callable[[str], None]


def fetch_part(part: Part, say: Say) -> Path:
    """Fetch a part, and return the folder or file where it is. What is complete already is not fetched again.

    say: prints a line for people.

    Raises:
        UsageError: the part cannot be fetched: it is shipped, a folder, or has to be converted.
        EnvironmentFault: no network, no space, or damaged files; the hint says what to copy by hand.
    """
    go_online()
    if part.is_converted:
        raise UsageError(f"no hub repository holds {part.name} as a whole", hint=f"Run: {command_for(part)}")
    try:
        if isinstance(part.config, VlmConfig):
            return _fetch_vlm(part, say)
        return _fetch_encoder(part, say) if part.kind == "encoder" else fetch_face_pack(part.config.faces, say)
    except UnreachableError as err:
        raise UnreachableError(str(err), hint=f"{err.hint} Without network: {how_to_copy(part)}.") from err


def find_pullable(name: str) -> Part:
    """Return the part of a name, or of the id of any hub repository.

    Raises:
        UsageError: it needs no fetching, or there is no such VLM.
    """
    from engine.vlms.find import find_config

    part = find_part(name)
    if part is not None:
        return part
    config = find_config(name)
    if config.world or Path(config.repo_id).is_absolute():
        raise UsageError(f"{config.name} needs no fetching", hint="It is on this disk.")
    return find_part(config.repo_id) or part_of_vlm(config)


def _fetch_vlm(part: Part, say: Say) -> Path:
    """Fetch a VLM's safetensors and text files into the hub cache."""
    repo = read_repository(part.repo_id)
    config = check_family(repo)
    weights = select_weights(repo)
    known = find_part(part.name) is not None
    license = config.license if known else repo.license
    say(f"{part.repo_id}: {_family(config)}, {weights.size}, licence: {license}")
    return _download(weights, part.name, say)


_FAMILIES = {"llava-next": "LLaVA-NeXT", "blip-2": "BLIP-2", "minigpt-v2": "MiniGPT-v2"}


def _family(config: VlmConfig) -> str:
    """Return the name of a VLM's family, for people."""
    known = chat_families()["supported"].get(config.family, {})
    return str(_FAMILIES.get(config.backend) or known.get("name") or config.family or config.backend)


def _fetch_encoder(part: Part, say: Say) -> Path:
    """Fetch the one file of an encoder that open_clip takes: safetensors where there are any."""
    repo = read_repository(part.repo_id)
    names = {f.name for f in repo.files}
    chosen = next((n for n in reversed(ENCODER_FILES) if n in names), None)
    if chosen is None:
        raise EnvironmentFault(f"{part.repo_id} has none of {', '.join(ENCODER_FILES)}", hint="See: myvlm doctor")
    file = repo.select([chosen])
    say(f"{part.repo_id}: {chosen}, {file.size}, licence: {part.license}")
    return _download(file, part.name, say) / chosen


def _download(repo: Repository, name: str, say: Say) -> Path:
    """Fetch the files of a repository into the hub cache, check them, and return their folder.

    A connection that breaks is resumed; after an interruption, files that are complete are not fetched again.
    """
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    missing = [f for f in repo.files if not try_to_load_from_cache(repo.id, f.name, revision=repo.revision)]
    check_space(name, sum(f.size for f in missing) / 1e9, hub_cache())
    try:
        folder = Path(snapshot_download(repo.id, revision="main", allow_patterns=[f.name for f in repo.files]))
    except Exception as err:  # huggingface_hub and its HTTP client raise many types
        raise _full_disk(name, err) or hub_error(repo.id, err) from err
    if folder.name == repo.revision:
        say(f"Checking {name} …")
        check_files(folder, {f.name: f.sha256 for f in repo.files if f.sha256})
    return folder


def check_space(name: str, gb: float, folder: Path) -> None:
    """Check that there is space for a download.

    Raises:
        EnvironmentFault: there is too little.
    """
    free = free_gb(folder)
    if gb and free < gb + SPARE_GB:
        raise EnvironmentFault(
            f"{name} needs {gb:.1f} GB, and {free:.1f} GB are free where {folder} is",
            hint=f"Free {gb + SPARE_GB - free:.1f} GB. HF_HOME moves the folder of hub models to another disk.",
        )


def _full_disk(name: str, err: BaseException) -> EnvironmentFault | None:
    """Return the error to raise where no space is left; None where that is not what went wrong."""
    if not isinstance(err, OSError) or err.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return EnvironmentFault(f"the disk is full while {name} was fetched", hint="Free space, and run it again.")


def fetch_face_pack(faces: FaceSource, say: Say) -> Path:
    """Fetch a face pack with insightface's own download, check its files, and return its folder.

    Raises:
        EnvironmentFault: no network, no space, or damaged files.
    """
    check_space(faces.name, 2 * faces.disk_gb, faces.folder)  # the archive, and what is in it
    say(f"{faces.name}: {faces.disk_gb:g} GB, licence: {faces.license}")
    archive = faces.folder.with_name(f"{faces.name}.zip")
    from insightface.utils import storage
    from requests import ConnectionError as NoConnection

    try:
        with redirect_stdout(StringIO()):  # it prints where it downloads from
            storage.download(faces.folder.parent.name, faces.name, force=True, root=str(faces.folder.parents[1]))
    except Exception as err:  # requests, zipfile and insightface raise many types
        _remove_damaged(faces)
        why = "there is no connection" if isinstance(err, NoConnection) else first_line(err)
        fault = UnreachableError(f"{faces.name} could not be fetched: {why}", hint=AGAIN)
        raise _full_disk(faces.name, err) or fault from err
    finally:
        archive.unlink(missing_ok=True)
    check_files(faces.folder, {n: faces.sha256[n] for n in faces.files if n in faces.sha256})
    return faces.folder


def _remove_damaged(faces: FaceSource) -> None:
    """Delete files of a pack that are not whole, so that they are not taken for the pack."""
    for name, expected in faces.sha256.items():
        try:
            check_files(faces.folder, {name: expected})
        except EnvironmentFault:
            continue
