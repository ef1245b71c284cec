"""Time `myvlm locate` and `myvlm confirm` of a photo that was scanned, as whole commands in processes of their own.

The former way is this module's `former`, run in a process, too: it decodes the photo wherever the program did, fits the
scorers anew and looks for a VLM on the disk; to confirm, it imports torch for the random numbers of the linear head and
encodes the region. It does not parse a command line, and fits with today's code, which favours it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.concepts.enrol import enrol
from engine.concepts.object_heads import retrain_head
from engine.core.paths import HOME_VARIABLE
from engine.core.types import Concept, Decision, Kind, Verdict
from engine.photos.decode import load_photo
from engine.photos.discovery import find_files
from engine.recognition.classifier import open_set_classifier
from engine.recognition.enrolled import HeadGroup, read_enrolled
from engine.recognition.feedback import UserLabels
from engine.recognition.feedback_features import VIEWS, key_of, rank_by_head
from engine.recognition.gallery import Gallery
from engine.recognition.recognise import recognise
from engine.recognition.scan import ScanRequest, scan
from engine.session import Session, SessionOptions
from engine.store.heads import FeedbackFeatures
from engine.storybook.album import CAST, draw_album
from engine.storybook.photos import save_photo
from engine.storybook.world.scenes import compose

_SIZE = (4000, 3000)
"""Pixels of the photo: 12 megapixels."""
_OURS = "from myvlm_cli.main import main; main()"
_FORMER = "from engine.benchmarks.speed.decisions import former; import sys; sys.stdout.write(former(*sys.argv[1:]))"
_TARGET = "<= .5 s"
_COMPARED = {
    "locate": ("the photo decoded, scorers fitted anew, a VLM looked for", "2 to 3: imports of libraries stay"),
    "confirm": (
        "torch imported, the photo decoded three times and encoded, scorers fitted anew",
        "5 to 10: importing torch took most of the time",
    ),
}
"""By command: what the former way does, and what was predicted."""


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Enrol drawn pets with the built-in recogniser, scan a photo of 12 megapixels, and time both commands on it."""
    name, photo = prepare(settings)
    return [_measure(settings, "locate", name, photo), _measure(settings, "confirm", name, photo)]


def prepare(settings: SpeedSettings, size: tuple[int, int] = _SIZE) -> tuple[str, Path]:
    """Make the data folder `home`, and a scanned photo; return a concept's name and the photo."""
    album = draw_album(settings.work / "drawn", settings.seed)
    session = Session(SessionOptions("none", "builtin"), settings.work / "home")
    for name, folder in album.concept_folders.items():
        enrol(session, name, [folder], kind=Kind.PET, category="dog")
    name = next(iter(album.concept_folders))
    photo = settings.work / "photo" / "one.jpg"
    save_photo(compose(np.random.default_rng(settings.seed), (CAST[name],), place="beach"), photo)
    with Image.open(photo) as small:
        small.resize(size, Image.Resampling.BICUBIC).save(photo, quality=92)
    for _ in scan(session, find_files([photo]), ScanRequest(faces=False)):
        pass
    session.store.close()
    return name, photo


def _measure(settings: SpeedSettings, command: str, name: str, photo: Path) -> Measurement:
    homes = copies(settings, command)

    def ours() -> None:
        run_ours(next(homes), command, name, photo)

    def theirs() -> None:
        run_former(next(homes), command, name, photo)

    seconds, former_seconds = in_turn(ours, theirs, settings.rounds)
    former_way, predicted = _COMPARED[command]
    return Measurement(
        "decisions",
        f"myvlm {command} of a scanned photo of 12 megapixels, the whole command",
        "features and fits are read, nothing is decoded, no torch",
        former_way,
        seconds,
        former_seconds,
        target=_TARGET,
        predicted=predicted,
        extra={"seconds": median(seconds)},
    )


def copies(settings: SpeedSettings, command: str) -> Iterator[Path]:
    """Return copies of the data folder for every time that one of both ways runs: a decision changes it."""
    folders = [settings.work / f"{command}{i}" for i in range(2 * (settings.rounds + 1))]
    for folder in folders:
        shutil.copytree(settings.work / "home", folder)
    return iter(folders)


def run_ours(home: Path, command: str, name: str, photo: Path) -> str:
    """Run a command as users do; return what it printed."""
    words = ("locate", name, str(photo)) if command == "locate" else ("confirm", str(photo), name)
    return _run(_OURS, home, *words, "--recogniser", "builtin", "--json")


def run_former(home: Path, command: str, name: str, photo: Path) -> str:
    """Run a command in the former way; return what it printed."""
    return _run(_FORMER, home, command, name, str(photo))


def _run(code: str, home: Path, *words: str) -> str:
    environment = {**os.environ, HOME_VARIABLE: str(home)}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[3], capture_output=True, check=True)
    return done.stdout.decode()


def former(command: str, name: str, photo: str) -> str:
    """Locate or confirm a concept in a photo as versions up to 0.2 did; return what came out as JSON."""
    session = Session(SessionOptions(recogniser="builtin"))
    concept = session.store.get(name)
    ways: Mapping[str, Callable[[Session, Concept, Path], object]] = {"locate": _locate, "confirm": _confirm}
    return json.dumps(ways[command](session, concept, Path(photo)))


def _former_gallery(session: Session, concept: Concept) -> Gallery:
    """Return the gallery for a pet or thing, with scorers that are fitted anew."""
    config = session.recogniser_config
    enrolled = read_enrolled(session.store, config, session.recognition, [concept])
    heads = enrolled.group(HeadGroup.REGIONS)
    return Gallery(
        frozenset({concept.id}),
        enrolled,
        None,
        open_set_classifier(config, heads, None),
        labels=UserLabels.of(session.store.decisions.all(), enrolled.concepts),
        unrivalled={HeadGroup.REGIONS: open_set_classifier(config, {concept: heads[concept]}, None)},
    )


def _locate(session: Session, concept: Concept, path: Path) -> list[int] | None:
    """Return the box of a concept, or None; a VLM is looked for, whose batches it takes."""
    import engine.captioning.explain_pictures  # noqa: F401

    _ = session.vlm_config
    return _find(session, concept, path)


def _find(session: Session, concept: Concept, path: Path) -> list[int] | None:
    (matches,) = recognise(session.extractor, [load_photo(path)], _former_gallery(session, concept))
    return list(matches[0].box.rounded()) if matches else None


def _confirm(session: Session, concept: Concept, path: Path) -> str:
    """Confirm a concept in the region that looks most like it, and train its head; return the photo's content hash."""
    import torch  # noqa: F401

    _find(session, concept, path)  # how certain the match was before
    photo = load_photo(path)
    content = photo.facts.content_hash
    now = datetime.now(UTC).isoformat(timespec="seconds")
    decision = Decision(concept.id, content, path.absolute(), None, Verdict.CONFIRM, now)
    session.store.decisions.put(decision)
    head = session.store.load_head(concept.id, session.recogniser_config.id)
    if head is None:
        raise RuntimeError("the concept was enrolled with this recogniser")
    photo = load_photo(path)
    regions = session.extractor.find_regions([photo], keep=True)[0]
    best = int(np.argmax(rank_by_head(head)(regions.features)))
    rng = np.random.default_rng(int(content[:8], 16))
    rows = session.extractor.encode_views(photo.image, regions.regions[best].box, rng)[:VIEWS]
    feedback = replace(FeedbackFeatures.of(head), confirmed={key_of(decision): rows.astype(np.float32)})
    session.store.renew_head(retrain_head(session.store, session.recogniser_config, concept, head, feedback))
    return content
