"""Values: a face or an animal without a name in a photo, a group of them, and all groups of some photos."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.core.boxes import Box
from engine.core.types import Kind


@dataclass(frozen=True)
class Sighting:
    """A face or an animal in one photo.

    path: the first photo with this content. box: pixels of the upright photo. quality: 0..1, how well it is seen.
    taken: ISO 8601, by the camera's clock; "" if the photo does not say. word: the class word of an animal. maybe: the
    concept that the recogniser suggests here, by its name; "" for none.
    """

    path: Path
    content_hash: str
    box: Box
    quality: float
    taken: str = ""
    word: str = ""
    maybe: str = ""


@dataclass(frozen=True)
class Group:
    """Sightings that seem to be of one individual.

    id: of its most typical sighting, so that it stays while that one does. members: by date and path. views: indices of
    the best and most different members, the most typical first.
    """

    id: str
    members: tuple[Sighting, ...]
    views: tuple[int, ...]

    @cached_property
    def photos(self) -> int:
        """The number of different photos."""
        return len({m.content_hash for m in self.members})

    @property
    def sample(self) -> Sighting:
        """The most typical sighting."""
        return self.members[self.views[0]]

    @property
    def best(self) -> tuple[Sighting, ...]:
        """The best and most different sightings, the most typical first."""
        return tuple(self.members[i] for i in self.views)

    @property
    def dates(self) -> tuple[str, str]:
        """The days (ISO 8601) of the first and the last photo; "" where no photo has a date."""
        days = sorted(m.taken[:10] for m in self.members if m.taken)
        return (days[0], days[-1]) if days else ("", "")

    @property
    def word(self) -> str:
        """The class word that most animals of the group have; "" for people."""
        return _most_common([m.word for m in self.members])

    @property
    def maybe(self) -> str:
        """The concept that the recogniser suggests in at least half of the sightings; "" for none."""
        name = _most_common([m.maybe for m in self.members if m.maybe])
        return name if 2 * sum(m.maybe == name for m in self.members) >= len(self.members) else ""


def _most_common(texts: Sequence[str]) -> str:
    return max(sorted(set(texts)), key=texts.count, default="")


@dataclass(frozen=True)
class Groups:
    """The groups of some photos, the one with the most photos first.

    kind: PERSON for faces, PET for animals. photos: how many different photos were looked at. given: the paths that
    were asked for. ignored: sightings of groups that the user ignores. hidden: faces that are too small, blurred or
    turned. unreadable: (path, reason).
    """

    kind: Kind
    groups: tuple[Group, ...] = ()
    photos: int = 0
    given: tuple[Path, ...] = ()
    ignored: int = 0
    hidden: int = 0
    unreadable: tuple[tuple[Path, str], ...] = field(default=())

    @cached_property
    def several(self) -> int:
        """How many groups have at least two photos."""
        return sum(g.photos > 1 for g in self.groups)


def to_json(groups: Groups) -> str:
    """Return groups as JSON text; paths that are not UTF-8 stay as they are."""
    document = {f.name: getattr(groups, f.name) for f in fields(groups)}
    document["given"] = [str(p) for p in groups.given]
    document["unreadable"] = [[str(p), reason] for p, reason in groups.unreadable]
    document["groups"] = [[g.id, g.views, [_row(m) for m in g.members]] for g in groups.groups]
    return json.dumps(document)


def from_json(text: str) -> Groups:
    """Read what `to_json` wrote."""
    document: dict[str, Any] = json.loads(text)
    document["kind"] = Kind(document["kind"])
    document["given"] = tuple(map(Path, document["given"]))
    document["unreadable"] = tuple((Path(p), reason) for p, reason in document["unreadable"])
    document["groups"] = tuple(Group(i, tuple(map(_sighting, rows)), tuple(v)) for i, v, rows in document["groups"])
    return Groups(**document)


def _row(member: Sighting) -> list[Any]:
    m, b = member, member.box
    return [str(m.path), m.content_hash, [b.x0, b.y0, b.x1, b.y1], m.quality, m.taken, m.word, m.maybe]


def _sighting(row: list[Any]) -> Sighting:
    path, content_hash, corners, *rest = row
    return Sighting(Path(path), content_hash, Box(*corners), *rest)
