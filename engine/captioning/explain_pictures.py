"""Pictures that explain: what a concept's row attends to, over copies of the photos (the paper's fig. 3), and why a
concept was recognised. Nothing that is not a picture of ours is ever replaced by one.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from engine.core.errors import EngineError, UsageError
from engine.core.files import read_bytes, sha256_of, write_atomically
from engine.core.types import Concept
from engine.photos.decode import Photo
from engine.photos.drawing import draw_heat
from engine.photos.photo_file import LARGEST_FILE
from engine.recognition.explain.explain import explain_recognition
from engine.recognition.explain.explanation import Explanation
from engine.recognition.explain.picture import draw_explanation
from engine.recognition.gallery import Gallery
from engine.session import Session

if TYPE_CHECKING:
    from engine.vlms.generate import PersonalisedConcept

_SOFTWARE = "myvlm explain"
"""PNG text `Software` of our pictures: nothing else is ever replaced by one."""
_WHY = "why"
_PLAIN = "-_ "
_LONGEST = 60
_MOST_BYTES, _HASH = 120, 8
"""Of a photo's stem and of a name in a file name, which may have 255."""
_TRIES = 10_000


@dataclass(frozen=True)
class Drawn:
    """The pictures of one photo, notes about those that could not be written, and why each concept was recognised."""

    pictures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    whys: tuple[Explanation, ...] = ()


@dataclass(frozen=True)
class _Sheet:
    """A picture about a concept, before it has a file; `ending` tells kinds of pictures apart in its name."""

    concept: str
    page: Image.Image
    ending: str = ""

    def marks(self, photo: Photo) -> dict[str, str]:
        title = f"{self.concept}: {self.ending}" if self.ending else self.concept
        return {"Title": title, "Software": _SOFTWARE, "Source": photo.facts.content_hash}


@dataclass
class Pictures:
    """Writes pictures into a folder, which is made with the first; `written` are those of this run."""

    folder: Path
    written: set[Path] = field(default_factory=set)

    def explain(
        self,
        session: Session,
        photos: Sequence[Photo],
        recognised: Sequence[Sequence[Concept]],
        known: Mapping[str, "PersonalisedConcept"],
        enrolled: Gallery,
    ) -> list[Drawn]:
        """Of each photo two pictures a concept that was recognised: `<stem>-<name>.png`, what it attends to when the
        VLM was told of it, and `<stem>-<name>-why.png`. `known`: what the VLM has learned, by concept id; the first
        picture is left out for other concepts, and for photos that the VLM does not know. `enrolled`: who judged.

        Raises:
            EngineError: the folder cannot be made.
        """
        found = []
        for photo, own in zip(photos, recognised, strict=True):  # one at a time: a whole batch shows in the bytes
            whys = [
                explain_recognition(session.store, session.extractor, session.recognition, photo, c, gallery=enrolled)
                for c in own
            ]
            told = [known[c.id] for c in own if c.id in known] if session.can_describe(photo.software) else []
            sheets = [
                *_heat(session, photo, told),
                *(_Sheet(w.concept.name, draw_explanation(photo, w), _WHY) for w in whys),
            ]
            pictures, notes = [], []
            if len(told) < len(own):
                notes.append("no picture of attention: the VLM does not know the concept, or not such photos")
            for sheet in sheets:
                self._make_folder()
                try:
                    pictures.append(self._write(photo, sheet))
                except OSError as err:
                    notes.append(f"the picture of {sheet.concept} cannot be written: {err.strerror or err}")
            found.append(Drawn(tuple(pictures), tuple(notes), tuple(whys)))
        return found

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise EngineError(f"{self.folder} cannot be made: {err}", hint="Give --explain a folder.") from err

    def _write(self, photo: Photo, sheet: _Sheet) -> Path:
        target = self._target(photo, sheet)
        write_atomically(target, _encoded(photo, sheet))
        self.written.add(target)
        return target

    def _target(self, photo: Photo, sheet: _Sheet) -> Path:
        """A free name, or that of the picture of the same photo, concept and kind from an earlier run."""
        word = "".join(c if c.isalnum() or c in _PLAIN else "_" for c in sheet.concept).strip()[:_LONGEST] or "_"
        start = f"{_short(photo.path.stem)}-{_short(word)}{sheet.ending and f'-{sheet.ending}'}"
        for n in range(1, _TRIES):
            target = self.folder / f"{start}{'' if n == 1 else f'-{n}'}.png"
            same = target not in self.written and _has(target, sheet.marks(photo))
            if same or not (target.exists() or target in self.written):
                return target
        raise EngineError(f"{self.folder} is full of pictures of {photo.path.stem}", hint="Give another folder.")


def save_why(photo: Photo, found: Explanation, target: Path) -> None:
    """Draw why a concept was recognised or was not into a PNG file.

    Raises:
        UsageError: it is no PNG's name, or would replace the photo or anything else that is no picture of ours.
        EngineError: it cannot be written.
    """
    if target.suffix.lower() != ".png" or target.is_dir():
        raise UsageError(f"--draw makes a PNG, and {target} is no name of one", hint="Example: --draw why.png")
    if target.exists() and (target.samefile(photo.path) or not _has(target, {"Software": _SOFTWARE})):
        raise UsageError(
            f"--draw would replace {target}, which is no explanation of myvlm's", hint="Give another file."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, _encoded(photo, _Sheet(found.concept.name, draw_explanation(photo, found), _WHY)))
    except OSError as err:
        raise EngineError(f"{target} cannot be written: {err}", hint="Give --draw another place.") from err


def _heat(session: Session, photo: Photo, known: Sequence["PersonalisedConcept"]) -> Iterator[_Sheet]:
    """What the concepts that the VLM is told of attend to."""
    from engine.vlms import generate

    if not known:
        return
    (maps,), view = generate.attention(session.vlm, [photo.image], [known]), session.vlm.view(photo.image)
    for k, heat in zip(generate.speakable(known), maps, strict=True):
        yield _Sheet(k.concept.name, draw_heat(photo.image, heat, view))


def _encoded(photo: Photo, sheet: _Sheet) -> bytes:
    marks = PngImagePlugin.PngInfo()
    for key, value in sheet.marks(photo).items():
        marks.add_itxt(key, value)
    data = io.BytesIO()
    sheet.page.save(data, "PNG", pnginfo=marks)
    return data.getvalue()


def _short(text: str) -> str:
    """A text that leaves room in a file name; what is cut off stays told apart by a hash."""
    if len(os.fsencode(text)) <= _MOST_BYTES:
        return text
    mark = f"~{sha256_of(os.fsencode(text))[:_HASH]}"
    kept = text[:_MOST_BYTES]
    while len(os.fsencode(kept + mark)) > _MOST_BYTES:
        kept = kept[:-1]
    return kept + mark


def _has(path: Path, marks: dict[str, str]) -> bool:
    try:
        with Image.open(io.BytesIO(read_bytes(path, LARGEST_FILE))) as opened:
            return {k: opened.info.get(k) for k in marks} == marks
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False
