"""Draw photos of the album's concepts, and give each timed run a store and photos that know nothing yet."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from engine.concepts.enrol import enrol
from engine.photos.discovery import FoundFile, find_files
from engine.session import Session, SessionOptions
from engine.storybook.album import CAST, draw_album
from engine.storybook.photos import save_photo
from engine.storybook.world.language import PLACE_PHRASES
from engine.storybook.world.scenes import compose

OPTIONS = SessionOptions("storybook", "storybook", "cpu")


def draw_photos(work: Path, number: int, seed: int, size: tuple[int, int] | None = None) -> list[FoundFile]:
    """Enrol the album's concepts in the data folder `home`, and draw photos of one or two of them into `photos`.

    size: width and height in pixels to which the photos are enlarged; None: as drawn.
    """
    album = draw_album(work / "drawn", seed)
    session = Session(OPTIONS, work / "home")
    for name, folder in album.concept_folders.items():
        enrol(session, name, [folder])
    session.store.close()
    rng, people = np.random.default_rng(seed), tuple(CAST.values())
    for i in range(number):
        cast = tuple(people[k] for k in rng.choice(len(people), i % 2 + 1, replace=False))
        place = tuple(PLACE_PHRASES)[i % len(PLACE_PHRASES)]
        path = work / "photos" / f"{i:04}.jpg"
        save_photo(compose(rng, cast, place=place), path)
        if size is not None:
            with Image.open(path) as opened:
                large, exif = opened.resize(size, Image.Resampling.BICUBIC), opened.getexif()
            large.save(path, quality=90, exif=exif)
    return list(find_files([work / "photos"]))


def fresh_session(work: Path, *, cached: bool) -> tuple[Session, list[FoundFile]]:
    """Return a session on a copy of the data folder `home`, and the photos, whose sidecars are deleted.

    cached: whether the copy has the features of the reference photos.
    """
    files = list(find_files([work / "photos"]))
    for sidecar in [p for f in files for p in f.path.parent.glob(f"{f.path.name}.*")]:
        sidecar.unlink()
    shutil.rmtree(work / "run", ignore_errors=True)
    shutil.copytree(work / "home", work / "run", ignore=None if cached else shutil.ignore_patterns("cache"))
    return Session(OPTIONS, work / "run"), files
