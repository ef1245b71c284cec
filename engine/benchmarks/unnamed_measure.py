"""Measure groups of sightings without a name: in drawn libraries, and in photos whose folders say whom they show."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from engine.benchmarks.experiments import Measurement
from engine.benchmarks.library_cases import draw_library, save_shot
from engine.benchmarks.photo_data import PhotoData
from engine.benchmarks.unnamed_methods import METHODS, USED, Sample, by_word
from engine.core.boxes import Box, iou
from engine.core.errors import EnvironmentFault
from engine.core.types import Kind
from engine.photos.discovery import FoundFile
from engine.session import Session, SessionOptions
from engine.storybook.photos import DrawnPhoto
from engine.unnamed.find import GroupRequest, find_unnamed
from engine.unnamed.groups import Group, Groups, Sighting
from engine.unnamed.name import features_of
from engine.vision.config import GroupThresholds

LEAST = 3
"""Photos of an individual from which on it is counted how it was found."""
_SAME_PLACE = 0.3
"""A sighting that overlaps the true box of an individual more (IoU) shows it."""

Truth = Callable[[Sighting], object]
"""Says whom a sighting shows; None for what is nobody of whom the truth is known."""


def measure_drawn(seed: int, photos: int, choices: SessionOptions) -> Measurement:
    """Draw a library in which nobody is enrolled, and measure its groups of faces and of animals."""
    with TemporaryDirectory(prefix="myvlm-unnamed-") as name:
        folder = Path(name)
        drawn = [save_shot(shot, folder / "photos") for shot in draw_library(seed, photos).shots]
        session, by_path = Session(choices, folder / "home"), {p.path: p for p in drawn}
        found = {}
        for kind in (Kind.PERSON, Kind.PET):
            files = (FoundFile(p.path, "photo") for p in drawn)
            groups = find_unnamed(session, files, GroupRequest(kind))
            truth = _drawn_truth(by_path, faces=kind is Kind.PERSON)
            found[str(kind)] = measure_groups(session, groups, truth)
        session.store.close()
    return {"photos": photos, "kinds": found}


def _drawn_truth(drawn: dict[Path, DrawnPhoto], *, faces: bool) -> Truth:
    def truth(sighting: Sighting) -> object:
        photo = drawn[sighting.path]
        boxes = photo.faces if faces else photo.boxes
        overlaps = [iou(sighting.box, box) if box else 0.0 for box in boxes]
        best = int(np.argmax(overlaps))
        return photo.scene.characters[best].who if overlaps[best] > _SAME_PLACE else None

    return truth


def measure_photos(session: Session, data: PhotoData) -> Measurement:
    """Measure groups in photos of folders, each of one individual, and of strangers, of whom each is another one.

    In the photo of a person the largest face is that person's; other faces are of people who are there once.
    """
    folders = {p.path: f for f in data.folders for p in f.photos}
    found = {}
    for kind in (Kind.PERSON, Kind.PET):
        wanted = [p.path for f in data.folders for p in f.photos if f.kind is kind] + [p.path for p in data.strangers]
        if not any(p in folders for p in wanted):
            continue
        groups = find_unnamed(session, (FoundFile(p, "photo") for p in wanted), GroupRequest(kind))
        largest = _largest(groups)

        def truth(sighting: Sighting, largest: dict[Path, Box] = largest) -> object:
            is_main = sighting.path in folders and largest[sighting.path] == sighting.box
            return folders[sighting.path].name if is_main else None

        found[str(kind)] = {"photos": len(wanted), **measure_groups(session, groups, truth)}
    return {"photos": len(data.photos), "kinds": found}


def _largest(groups: Groups) -> dict[Path, Box]:
    largest: dict[Path, Box] = {}
    for member in (m for g in groups.groups for m in g.members):
        if member.path not in largest or member.box.area > largest[member.path].area:
            largest[member.path] = member.box
    return largest


def measure_groups(session: Session, groups: Groups, truth: Truth) -> Measurement:
    """Compare the groups, and those that other methods make of the same sightings, with the truth."""
    members = [m for g in groups.groups for m in g.members]
    sample = _sample(session, groups, members, truth)
    thresholds = session.recogniser_config.group_thresholds(groups.kind)
    labels = np.repeat(np.arange(len(groups.groups)), [len(g.members) for g in groups.groups])
    individuals = Counter(sample.truth.tolist())
    return {
        "sightings": len(members),
        "recurring": sum(n >= LEAST for n in individuals.values()),
        "once": sum(n == 1 for n in individuals.values()),
        "thresholds": [thresholds.start, thresholds.join],
        "methods": {
            USED: compare(labels, sample) | {"views": _views(groups.groups, labels, sample)},
            **{name: _try(name, sample, thresholds) for name in METHODS},
        },
    }


def _sample(session: Session, groups: Groups, members: Sequence[Sighting], truth: Truth) -> Sample:
    features = [features_of(session.extractor, g, groups.kind) for g in groups.groups]
    known: dict[object, int] = {}
    numbers = []
    for member in members:
        who = truth(member)
        numbers.append(known.setdefault(object() if who is None else who, len(known)))
    photos = np.unique([m.content_hash for m in members], return_inverse=True)[1] if members else np.zeros(0, int)
    joined = np.concatenate(features) if features else np.zeros((0, 1), np.float32)
    assert len(joined) == len(members)  # all were found a moment ago
    return Sample(joined, photos, np.array(numbers, int), tuple(m.word for m in members))


def _try(name: str, sample: Sample, thresholds: GroupThresholds) -> Measurement:
    try:
        return compare(by_word(METHODS[name], sample, thresholds), sample)
    except EnvironmentFault as err:
        return {"reason": str(err)}


@dataclass(frozen=True)
class _Cluster:
    """A cluster in more than one photo: its rows, and the individual that most of them show."""

    rows: np.ndarray
    who: int
    right: int


def _clusters(labels: np.ndarray, sample: Sample) -> dict[int, _Cluster]:
    found = {}
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label)
        if len(set(sample.photos[rows].tolist())) > 1:
            who, right = Counter(sample.truth[rows].tolist()).most_common(1)[0]
            found[label] = _Cluster(rows, who, right)
    return found


def compare(labels: np.ndarray, sample: Sample) -> Measurement:
    """Compare clusters with the truth. Clusters count that are in more than one photo.

    Returns "pure": for each cluster, whether it shows one individual; "members": how many show the individual that most
    of the cluster show, and how many there are; "pairs": how many pairs of one cluster show one individual, and how
    many there are; "found": for each individual in at least `LEAST` photos, the share of its sightings that are in one
    cluster; "pieces": in how many clusters most are of it; "once": for each individual that is there once, whether it
    is in a cluster.
    """
    clusters, counts = _clusters(labels, sample), Counter(sample.truth.tolist())
    pairs = [0, 0]
    for c in clusters.values():
        own = Counter(sample.truth[c.rows].tolist())
        pairs[0] += sum(n * (n - 1) // 2 for n in own.values())
        pairs[1] += len(c.rows) * (len(c.rows) - 1) // 2
    recurring = [who for who, n in counts.items() if n >= LEAST]
    main = [Counter(labels[sample.truth == who].tolist()).most_common(1)[0][1] / counts[who] for who in recurring]
    pieces = Counter(c.who for c in clusters.values())
    return {
        "pure": [c.right == len(c.rows) for c in clusters.values()],
        "members": [sum(c.right for c in clusters.values()), sum(len(c.rows) for c in clusters.values())],
        "pairs": pairs,
        "found": [round(share, 4) for share in main],
        "pieces": [pieces[who] for who in recurring],
        "once": [int(labels[i]) in clusters for i in range(len(labels)) if counts[int(sample.truth[i])] == 1],
    }


def _views(groups: Sequence[Group], labels: np.ndarray, sample: Sample) -> list[bool]:
    """Return for each group in several photos whether all views that it would be enrolled from show one individual."""
    return [
        len({int(sample.truth[np.flatnonzero(labels == label)[i]]) for i in groups[label].views}) == 1
        for label in _clusters(labels, sample)
    ]
