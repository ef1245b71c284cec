"""Faces and region features of photos: from the cache where they are known, else computed once and kept."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.core.boxes import Box
from engine.photos.decode import Photo
from engine.session import Session
from engine.vision.faces import Face
from engine.vision.regions import Region, RegionFeatures


def find_faces(session: Session, photos: Sequence[Photo], *, keep: bool) -> list[list[Face]]:
    """Faces of each photo, from the cache where they are known; boxes are in the picture's pixels."""
    model = session.recogniser_config.found_faces_id
    results: list[list[Face]] = []
    fresh = []
    for photo in photos:
        faces = known_faces(session, photo.facts.content_hash)
        if faces is None:
            faces = session.recogniser.find_faces(photo.image)
            fresh.append((photo.facts.content_hash, _pack_faces(photo, faces)))
        else:
            faces = [replace(f, box=photo.in_image(f.box)) for f in faces]
        results.append(faces)
    if keep and fresh:
        session.cache.save(model, fresh)
    return results


def known_faces(session: Session, content_hash: str) -> list[Face] | None:
    """Faces of the cache; their boxes are in the photo's pixels."""
    known = session.cache.load(content_hash, session.recogniser_config.found_faces_id)
    if known is None:
        return None
    rows = zip(*(known[k] for k in ("boxes", "scores", "embeddings", "sharpness", "turn")), strict=True)
    return [Face(Box(*map(float, b)), float(s), e, float(blur), float(turn)) for b, s, e, blur, turn in rows]


def _pack_faces(photo: Photo, faces: Sequence[Face]) -> dict[str, np.ndarray]:
    width = len(faces[0].embedding) if faces else 1
    return {
        "boxes": np.array([corners(photo.in_photo(f.box)) for f in faces], np.float32).reshape(-1, 4),
        "scores": np.array([f.score for f in faces], np.float32),
        "sharpness": np.array([f.sharpness for f in faces], np.float32),
        "turn": np.array([f.turn for f in faces], np.float32),
        "embeddings": np.array([f.embedding for f in faces], np.float32).reshape(-1, width),
    }


def find_regions(session: Session, photos: Sequence[Photo], *, keep: bool) -> list[RegionFeatures]:
    """Regions and features of each photo, from the cache where they are known; boxes are in the picture's pixels."""
    known = [known_regions(session, p.facts.content_hash) for p in photos]
    missing = [i for i, k in enumerate(known) if k is None]
    fresh = (
        dict(zip(missing, session.recogniser.find_regions([photos[i].image for i in missing]), strict=True))
        if missing
        else {}
    )
    if keep and fresh:
        packed = ((photos[i].facts.content_hash, _pack_regions(photos[i], f)) for i, f in fresh.items())
        session.cache.save(_regions_id(session), packed)
    return [fresh[i] if k is None else _in_image(photos[i], k) for i, k in enumerate(known)]


def _in_image(photo: Photo, found: RegionFeatures) -> RegionFeatures:
    return replace(found, regions=tuple(replace(r, box=photo.in_image(r.box)) for r in found.regions))


def _regions_id(session: Session) -> str:
    return session.recogniser_config.regions_id


def known_regions(session: Session, content_hash: str) -> RegionFeatures | None:
    """Regions of the cache; their boxes are in the photo's pixels."""
    known = session.cache.load(content_hash, _regions_id(session))
    return None if known is None else _unpack_regions(known)


_SOURCES = ("detector", "photo", "grid")


def _pack_regions(photo: Photo, found: RegionFeatures) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array([corners(photo.in_photo(r.box)) for r in found.regions], np.float32),
        "sources": np.array([_SOURCES.index(r.source) for r in found.regions], np.uint8),
        "features": found.features.astype(np.float32),
        "words": np.frombuffer("\n".join(r.word for r in found.regions).encode(), np.uint8),
    }


def _unpack_regions(arrays: dict[str, np.ndarray]) -> RegionFeatures:
    words = bytes(arrays["words"]).decode().split("\n")
    facts = zip(arrays["boxes"], arrays["sources"], words, strict=True)
    regions = tuple(Region(Box(*map(float, b)), _SOURCES[int(s)], w) for b, s, w in facts)
    return RegionFeatures(regions, arrays["features"])


def corners(box: Box) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1."""
    return box.x0, box.y0, box.x1, box.y1
