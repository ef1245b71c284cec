"""The JSON sidecar, `photo.jpg.myvlm.json`: everything that was found out about a photo.

`photo.jpg.json` would collide with Google Takeout's and PhotoPrism's files. The format is versioned and described in
`schema/photo-2.schema.json`: `schema` rises when a reader of the old one could misread the new one.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from engine.core.boxes import Box
from engine.core.errors import SidecarError
from engine.core.types import Kind, Match, PhotoFacts
from engine.sidecars.read import naming_file, read_sidecar

SCHEMA = 2
LARGEST = 16 * 2**20


@dataclass(frozen=True)
class PhotoRecord:
    """What a run found out about one photo. `key` decides whether a later run has anything to do.

    `caption` is None where no VLM described the photo; `vlm` is `NO_VLM` then, and `revision` empty.
    """

    facts: PhotoFacts
    caption: str | None
    matches: tuple[Match, ...]
    vlm: str
    revision: str
    key: str
    recognition: str = ""  # digest of who was enrolled
    settings: str = ""  # digest of prompt and settings
    notes: tuple[str, ...] = ()
    same_as: str | None = None  # name of the JPEG that a raw file was captioned with

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say in other sidecars: neither a caption nor a name."""
        return self.caption is None and not self.matches


PhotoRecord = PhotoRecord
"""A JSON sidecar as read: the account that it was rendered from, with its roundings."""


def describe_match(match: Match) -> dict[str, Any]:
    """A match as plain data; boxes are whole pixels of the upright photo, scores have four digits."""
    return {
        "name": match.name,
        "id": match.concept_id,
        "version": match.version,
        "kind": str(match.kind),
        "score": round(match.score, 4),
        "threshold": round(match.threshold, 4),
        "box": list(match.box.rounded()),
        "region": match.source,
    }


def describe_facts(facts: PhotoFacts) -> dict[str, Any]:
    """A photo file's facts as plain data."""
    place = {"latitude": facts.place[0], "longitude": facts.place[1]} if facts.place else None
    return {
        "content_hash": facts.content_hash,
        "width": facts.width,
        "height": facts.height,
        "format": facts.format,
        "orientation": facts.orientation,
        "taken": facts.taken,
        "place": place,
    }


def render_record(account: PhotoRecord) -> bytes:
    """The sidecar's bytes; the same account gives the same bytes. Names that are not UTF-8 become JSON escapes."""
    document = {
        "schema": SCHEMA,
        "key": account.key,
        "recognition": account.recognition,
        "settings": account.settings,
        "caption": account.caption,
        "concepts": [describe_match(m) for m in account.matches],
        "photo": describe_facts(account.facts),
        "vlm": {"id": account.vlm, "revision": account.revision},
        "notes": list(account.notes),
        "same_as": account.same_as,
    }
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes \udcff, which is JSON's escape for it


def read_record(path: Path) -> PhotoRecord | None:
    """A photo's JSON sidecar; None when it is absent, damaged, or of an older schema.

    Raises:
        SidecarError: it is to be left alone: a newer version wrote it, or it cannot be read.
    """
    data = read_sidecar(path)
    with naming_file(path):
        return None if data is None else parse_record(data)


def parse_record(data: bytes) -> PhotoRecord | None:
    """What a JSON sidecar holds; None when it is damaged, edited out of shape, or of an older schema.

    Raises:
        SidecarError: it is to be left alone: it is of a newer schema, or larger than any that myvlm writes.
    """
    if len(data) > LARGEST:
        raise SidecarError(f"the JSON sidecar is larger than {LARGEST >> 20} MiB")
    try:
        document = json.loads(data)
        schema = document.get("schema") if isinstance(document, dict) else None
        if _is_number(schema) and schema > SCHEMA:
            raise SidecarError("a newer version of myvlm wrote this sidecar", hint="Update myvlm.")
        return _document(document) if schema == SCHEMA else None
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _document(d: dict[str, Any]) -> PhotoRecord:
    return PhotoRecord(
        facts=_facts(d["photo"]),
        caption=None if d["caption"] is None else _text(d["caption"]),
        matches=tuple(_match(c) for c in _list(d["concepts"])),
        vlm=_text(d["vlm"]["id"]),
        revision=_text(d["vlm"]["revision"]),
        key=_text(d["key"]),
        recognition=_text(d["recognition"]),
        settings=_text(d["settings"]),
        notes=tuple(_text(n) for n in _list(d["notes"])),
        same_as=None if d["same_as"] is None else _text(d["same_as"]),
    )


def _match(c: dict[str, Any]) -> Match:
    x0, y0, x1, y1 = (float(_whole(v)) for v in _list(c["box"]))
    return Match(
        concept_id=_text(c["id"]),
        name=_text(c["name"]),
        kind=Kind(_text(c["kind"])),
        version=_whole(c["version"]),
        score=_number(c["score"]),
        threshold=_number(c["threshold"]),
        box=Box(x0, y0, x1, y1),
        source=_text(c["region"]),
    )


def _facts(p: dict[str, Any]) -> PhotoFacts:
    place = None if p["place"] is None else (_number(p["place"]["latitude"]), _number(p["place"]["longitude"]))
    width, height, orientation = _whole(p["width"]), _whole(p["height"]), _whole(p["orientation"])
    if width < 1 or height < 1 or not 1 <= orientation <= 8 or (place and not _on_earth(*place)):
        raise ValueError
    return PhotoFacts(
        content_hash=_text(p["content_hash"]),
        width=width,
        height=height,
        format=_text(p["format"]),
        orientation=orientation,
        taken=None if p["taken"] is None else _text(p["taken"]),
        place=place,
    )


def _on_earth(latitude: float, longitude: float) -> bool:
    return abs(latitude) <= 90 and abs(longitude) <= 180


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: object) -> float:
    if not _is_number(value):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number
