"""The JSON sidecar, `photo.jpg.myvlm.json`: everything that was found out about a photo.

`photo.jpg.json` would collide with Google Takeout's and PhotoPrism's files. The format is versioned:
`schema` rises when a reader of the old one could misread the new one.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.boxes import Box
from engine.errors import SidecarError
from engine.files import write_atomically
from engine.types import Kind, Match, PhotoFacts

SCHEMA = 1


@dataclass(frozen=True)
class Account:
    """What a run found out about one photo. `key` decides whether a later run has anything to do."""

    facts: PhotoFacts
    caption: str
    matches: tuple[Match, ...]
    vlm: str
    revision: str
    key: str
    notes: tuple[str, ...] = ()


def json_path(photo: Path) -> Path:
    """Where a photo's JSON sidecar is."""
    return photo.with_name(photo.name + ".myvlm.json")


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


def render_account(account: Account) -> bytes:
    """The sidecar's bytes; the same account gives the same bytes."""
    document = {
        "schema": SCHEMA,
        "key": account.key,
        "caption": account.caption,
        "concepts": [describe_match(m) for m in account.matches],
        "photo": describe_facts(account.facts),
        "vlm": {"id": account.vlm, "revision": account.revision},
        "notes": list(account.notes),
    }
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()


def read_document(photo: Path) -> dict[str, Any] | None:
    """The photo's JSON sidecar, or None when it is absent, damaged or of another schema."""
    try:
        found = json.loads(json_path(photo).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("schema") == SCHEMA else None


def write_account(photo: Path, account: Account) -> Path:
    """Write the sidecar, unless it holds these very bytes already.

    Raises:
        SidecarError: it cannot be written.
    """
    path, data = json_path(photo), render_account(account)
    try:
        if not path.exists() or path.read_bytes() != data:
            write_atomically(path.resolve(), data)
    except OSError as err:
        raise SidecarError(f"{path}: {err.strerror or err}", hint="Is the folder writable?") from err
    return path


def recorded_matches(document: dict[str, Any]) -> tuple[Match, ...]:
    """The matches of a JSON sidecar."""
    return tuple(
        Match(
            c["id"],
            c["name"],
            Kind(c["kind"]),
            c["version"],
            c["score"],
            c["threshold"],
            Box(*map(float, c["box"])),
            c["region"],
        )
        for c in document["concepts"]
    )
