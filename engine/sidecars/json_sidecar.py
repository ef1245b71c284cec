"""The JSON sidecar, `photo.jpg.myvlm.json`: everything that myvlm knows about a photo.

`photo.jpg.json` would collide with files of Google Takeout and PhotoPrism. The format is described in
`schema/photo-2.schema.json`; its version `schema` rises when a reader of the old version could misread the new one.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from engine.core.boxes import Box
from engine.core.errors import SidecarError
from engine.core.notes import Note
from engine.core.types import Kind, Match, PhotoFacts
from engine.sidecars.read import naming_file, read_sidecar

SCHEMA = 2
LARGEST = 16 * 2**20
"""Bytes that are read of a JSON sidecar."""


@dataclass(frozen=True)
class CaptionSettings:
    """What a caption was asked to be like, and how the VLM was told of the concepts.

    style, language, context: as in `vlms.requests.CaptionForm`. told: by name, "names", "embedding" or "both".
    """

    style: str = "sentence"
    language: str = ""
    context: str = ""
    told: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PhotoRecord:
    """What a run recorded about one photo: the content of its JSON sidecar.

    caption: None if no VLM described the photo; `vlm` is `vlms.registry.NO_VLM` then, and `revision` is empty. It is
    None also if every sentence of the VLM's text was taken out, for naming somebody who was not recognised. key:
    digest of everything that the caption depends on; a later run has nothing to do if it is the same. recognition:
    digest of the enrolled concepts. settings: digest of prompt and settings. same_as: name of the JPEG with which a
    raw file was captioned. asked: what the caption was asked to be like; None for what versions before 0.3 asked for.
    """

    facts: PhotoFacts
    caption: str | None
    matches: tuple[Match, ...]
    vlm: str
    revision: str
    key: str
    recognition: str = ""
    settings: str = ""
    notes: tuple[Note, ...] = ()
    same_as: str | None = None
    asked: CaptionSettings | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write into an XMP sidecar: neither a caption nor a name."""
        return self.caption is None and not self.matches


def describe_match(match: Match) -> dict[str, Any]:
    """Return a match as plain data; boxes are whole pixels of the upright photo, scores have four decimals."""
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
    """Return the facts of a photo file as plain data."""
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


def render_record(record: PhotoRecord) -> bytes:
    """Render the bytes of a sidecar; equal records give equal bytes. Names that are not UTF-8 become JSON escapes."""
    document = {
        "schema": SCHEMA,
        "key": record.key,
        "recognition": record.recognition,
        "settings": record.settings,
        "caption": record.caption,
        "concepts": [describe_match(m) for m in record.matches],
        "photo": describe_facts(record.facts),
        "vlm": {"id": record.vlm, "revision": record.revision},
        "notes": [str(n) for n in record.notes],
        "same_as": record.same_as,
    } | ({"request": _describe_settings(record.asked)} if record.asked else {})
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes \udcff, which is JSON's escape for it


def _describe_settings(asked: CaptionSettings) -> dict[str, Any]:
    return {
        "style": asked.style,
        "language": asked.language or None,
        "context": asked.context or None,
        "told": dict(asked.told),
    }


def read_record(path: Path) -> PhotoRecord | None:
    """Read the JSON sidecar of a photo; None if it is absent, damaged, or of an older schema.

    Raises:
        SidecarError: it must stay unchanged, because a newer version wrote it or it cannot be read.
    """
    data = read_sidecar(path)
    with naming_file(path):
        return None if data is None else parse_record(data)


def parse_record(data: bytes) -> PhotoRecord | None:
    """Read the bytes of a JSON sidecar; None if they are damaged, not of the expected form, or of an older schema.

    Raises:
        SidecarError: it must stay unchanged, because its schema is newer or it is larger than any that myvlm writes.
    """
    if len(data) > LARGEST:
        raise SidecarError(f"the JSON sidecar is larger than {LARGEST >> 20} MiB")
    try:
        document = json.loads(data)
        schema = document.get("schema") if isinstance(document, dict) else None
        if _is_number(schema) and schema > SCHEMA:
            raise SidecarError("a newer version of myvlm wrote this sidecar", hint="Update myvlm.")
        return _make_record(document) if schema == SCHEMA else None
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _make_record(d: dict[str, Any]) -> PhotoRecord:
    return PhotoRecord(
        facts=_facts(d["photo"]),
        caption=None if d["caption"] is None else _text(d["caption"]),
        matches=tuple(_match(c) for c in _list(d["concepts"])),
        vlm=_text(d["vlm"]["id"]),
        revision=_text(d["vlm"]["revision"]),
        key=_text(d["key"]),
        recognition=_text(d["recognition"]),
        settings=_text(d["settings"]),
        notes=tuple(Note.parse(_text(n)) for n in _list(d["notes"])),
        same_as=None if d["same_as"] is None else _text(d["same_as"]),
        asked=_settings(d["request"]) if "request" in d else None,
    )


def _settings(d: dict[str, Any]) -> CaptionSettings:
    language, context = ("" if d[key] is None else _text(d[key]) for key in ("language", "context"))
    told = tuple((name, _text(way)) for name, way in d["told"].items())
    return CaptionSettings(_text(d["style"]), language, context, told)


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
