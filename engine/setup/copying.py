"""Take parts from a folder instead of the network: a copied hub cache, a folder for each model, or its files."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from re import fullmatch

from engine.core.errors import EnvironmentFault, UsageError, first_line
from engine.core.files import LARGEST_DOCUMENT, TEMPORARY_MARK, open_regular, read_bytes, read_text
from engine.setup.checksums import CHUNK, missing_shards
from engine.setup.fetch import Say, check_space
from engine.setup.hub import size_text
from engine.setup.parts import Part, how_to_copy
from engine.vision.config import RecogniserConfig
from engine.vlms.config import VlmConfig
from engine.vlms.find import family_of, model_type_of

_UNKNOWN_REVISION = "copied"
"""Prefix of the revision of files whose commit is not known; a fingerprint of the files follows."""


@dataclass(frozen=True)
class Source:
    """The files of a part in a folder.

    files: the path of each file, by its name in the part. sums: the SHA-256 that some of them must have.
    revision: the commit of the hub repository, "" where it is not known. archive: a zip file that holds the files.
    """

    part: Part
    files: Mapping[str, Path] = field(default_factory=dict)
    sums: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    archive: Path | None = None


def find_source(folder: Path, part: Part) -> Source | None:
    """Find a part in a folder; None where it is not there.

    Raises:
        UsageError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="--from takes a folder with copied models.")
    if part.is_converted:
        return None
    places = _places(folder, part)
    return next((s for place in places if (s := _source_in(place, part)) is not None), None)


def _places(folder: Path, part: Part) -> Iterator[Path]:
    """List where a part may be: in a hub cache, in a folder of its name, or in the folder itself."""
    if part.repo_id:
        yield from (folder / part.hub_folder, folder / "hub" / part.hub_folder)
        yield folder / part.repo_id.rpartition("/")[2]
    yield from (folder / part.name, folder / "models" / part.name)
    if not (isinstance(part.config, VlmConfig) and part.config.family):  # a family's VLMs differ in size only
        yield folder


def _source_in(place: Path, part: Part) -> Source | None:
    """Return a part that a folder holds, or None."""
    if part.kind == "faces":
        return _face_files(place, part)
    snapshot = _snapshot(place)
    if snapshot is not None:
        sums = _sums_of_snapshot(place, snapshot)
        return _hub_files(snapshot, part, sums, snapshot.name)
    metadata = _download_metadata(place)
    revisions = {revision for revision, _ in metadata.values()}
    sums = {name: etag for name, (_, etag) in metadata.items() if fullmatch("[0-9a-f]{64}", etag)}
    return _hub_files(place, part, sums, revisions.pop() if len(revisions) == 1 else "")


def _face_files(place: Path, part: Part) -> Source | None:
    assert isinstance(part.config, RecogniserConfig)
    sums = part.config.faces.sha256
    if all((place / name).is_file() for name in part.files):
        return Source(part, {n: place / n for n in part.files}, sums)
    archive = place / f"{part.name}.zip"
    return Source(part, sums=sums, archive=archive) if archive.is_file() else None


def _hub_files(place: Path, part: Part, sums: Mapping[str, str], revision: str) -> Source | None:
    """Return the files of a hub repository in a folder, if they are those of the part."""
    if not place.is_dir():
        return None
    names = sorted(p.name for p in place.iterdir() if p.is_file() and any(fnmatch(p.name, f) for f in part.files))
    if isinstance(part.config, VlmConfig) and not _is_checkpoint_of(part.config, place, names):
        return None
    if not names:
        return None
    kept = {n: sums[n] for n in names if n in sums}
    return Source(part, {n: place / n for n in names}, kept, revision)


def _is_checkpoint_of(config: VlmConfig, place: Path, names: list[str]) -> bool:
    """Whether a folder holds safetensors and a `config.json` of a VLM's family."""
    if "config.json" not in names or not any(n.endswith(".safetensors") for n in names):
        return False
    model_type = model_type_of(place / "config.json")
    if config.family:
        return model_type == config.family
    family = family_of(model_type)
    return family is not None and family.backend == config.backend


def _snapshot(place: Path) -> Path | None:
    """Return the newest snapshot in a repository's folder of a hub cache; None where it is no such folder."""
    snapshots = sorted(place.glob("snapshots/*"), key=lambda p: p.stat().st_mtime)
    main = place / "refs" / "main"
    named = place / "snapshots" / read_text(main, LARGEST_DOCUMENT).strip() if main.is_file() else None
    if named is not None and named.is_dir():
        return named
    return snapshots[-1] if snapshots else None


def _sums_of_snapshot(place: Path, snapshot: Path) -> dict[str, str]:
    """Return the checksums that a hub cache knows: its listing of the commit, and the names of the linked files."""
    sums = {p.name: p.resolve().name for p in snapshot.iterdir() if fullmatch("[0-9a-f]{64}", p.resolve().name)}
    listing = place / "trees" / f"{snapshot.name}.json"
    if listing.is_file():
        with suppress(ValueError, AttributeError):  # a damaged listing
            files = json.loads(read_text(listing, LARGEST_DOCUMENT)).get("files", {})
            sums |= {name: facts["lfs_sha256"] for name, facts in files.items() if facts.get("lfs_sha256")}
    return sums


def _download_metadata(place: Path) -> dict[str, tuple[str, str]]:
    """Return commit and etag of each file of a folder that `hf download --local-dir` wrote."""
    metadata = {}
    for path in place.glob(".cache/huggingface/download/*.metadata"):
        lines = read_text(path, LARGEST_DOCUMENT).splitlines()
        if len(lines) >= 2:
            metadata[path.name.removesuffix(".metadata")] = (lines[0], lines[1])
    return metadata


def copy_part(source: Source, say: Say) -> Path:
    """Copy a part to where it is used, check its files, and return the folder; the source stays as it is.

    Raises:
        EnvironmentFault: files are missing or damaged, or there is no space for them.
    """
    part = source.part
    if source.archive is not None:
        return _unpack(source, source.archive, say)
    if lacking := missing_shards(next(iter(source.files.values())).parent):
        raise EnvironmentFault(
            f"{part.name} is incomplete: {', '.join(lacking)} not in {next(iter(source.files.values())).parent}",
            hint=f"Copy these files, too. {how_to_copy(part).capitalize()}.",
        )
    size = sum(p.stat().st_size for p in source.files.values())
    revision = source.revision or _fingerprint(source)
    target = part.folder if part.kind == "faces" else part.folder / "snapshots" / revision
    check_space(part.name, size / 1e9, target)
    say(f"Copying {part.name}, {size_text(size)}, to {part.folder} …")
    for name, path in source.files.items():
        with open_regular(path) as descriptor:
            _write(partial(os.read, descriptor), target / name, source.sums.get(name), path)
    if part.kind != "faces":
        _point_main_to(part.folder, revision)
    return target


def _fingerprint(source: Source) -> str:
    """Return a name for files whose commit is not known: it depends on their names and sizes, and on small files."""
    digest = hashlib.sha256()
    for name, path in source.files.items():
        size = path.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        digest.update(read_bytes(path, CHUNK) if size < CHUNK else b"")
    return f"{_UNKNOWN_REVISION}-{digest.hexdigest()[:12]}"


def _unpack(source: Source, archive: Path, say: Say) -> Path:
    """Unpack the files of a face pack, and nothing else, from its archive."""
    folder = source.part.folder
    check_space(source.part.name, source.part.disk_gb, folder)
    say(f"Unpacking {archive} to {folder} …")
    try:
        with zipfile.ZipFile(archive) as packed:
            members = {Path(m).name: m for m in packed.namelist()}
            if absent := [n for n in source.part.files if n not in members]:
                raise EnvironmentFault(f"{archive} has no {', '.join(absent)}", hint="Is it the right archive?")
            for name in source.part.files:
                with packed.open(members[name]) as f:
                    _write(f.read, folder / name, source.sums.get(name), archive)
    except zipfile.BadZipFile as err:
        raise EnvironmentFault(f"{archive} is damaged: {first_line(err)}", hint="Copy it again.") from err
    return folder


def _write(read: Callable[[int], bytes], target: Path, expected: str | None, source: Path) -> None:
    """Write a file whole; one with another checksum than expected is not kept.

    Raises:
        EnvironmentFault: the checksum is another, or the file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY_MARK}{os.getpid()}-{target.name}")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as f:
            while part := read(CHUNK):
                digest.update(part)
                f.write(part)
        if expected and digest.hexdigest() != expected:
            raise EnvironmentFault(
                f"{target.name} in {source} is damaged: its checksum is not that of the published file",
                hint="Copy it again.",
            )
        os.replace(temporary, target)
    except OSError as err:
        raise EnvironmentFault(f"{target} cannot be written: {first_line(err)}", hint="See: myvlm doctor") from err
    finally:
        temporary.unlink(missing_ok=True)


def _point_main_to(folder: Path, revision: str) -> None:
    """Make a revision the one that the hub library finds under the name "main"."""
    main = folder / "refs" / "main"
    main.parent.mkdir(parents=True, exist_ok=True)
    main.write_text(revision, "utf-8")
