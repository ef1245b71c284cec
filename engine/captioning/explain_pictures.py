"""Draw pictures that explain: what a concept's embedding attends to (the paper's fig. 3), and why a concept was
recognised. A file that is not such a picture is never replaced by one.
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
from engine.store.concepts import ConceptStore
from engine.vision.cached_extractor import CachedExtractor
from engine.vlms.in_use import VlmInUse

if TYPE_CHECKING:
    from engine.vlms.personalised import PersonalisedConcept

_SOFTWARE = "myvlm explain"
"""PNG text `Software` of these pictures; a file without it is never replaced by one."""
_WHY = "why"
_PLAIN = "-_ "
_LONGEST = 60
_MOST_BYTES, _HASH = 120, 8
"""The most bytes of a photo's stem and of a name in a file name (which may have 255), and the hash's digits."""
_TRIES = 10_000


@dataclass(frozen=True)
class ExplanationPictures:
    """The pictures of one photo, notes about those that could not be written, and why each concept was recognised."""

    pictures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    explanations: tuple[Explanation, ...] = ()


@dataclass(frozen=True)
class _Sheet:
    """A picture about a concept before it has a file; `ending` is the part of its name that says its kind."""

    concept: str
    page: Image.Image
    ending: str = ""

    def marks(self, photo: Photo) -> dict[str, str]:
        title = f"{self.concept}: {self.ending}" if self.ending else self.concept
        return {"Title": title, "Software": _SOFTWARE, "Source": photo.facts.content_hash}


@dataclass
class Pictures:
    """Writes pictures into a folder, which is created with the first one. written: the pictures of this run."""

    folder: Path
    written: set[Path] = field(default_factory=set)

    def write(self, photo: Photo, sheet: _Sheet) -> Path:
        """Write a picture under a free name.

        Raises:
            EngineError: the folder cannot be created.
            OSError: the file cannot be written.
        """
        self._make_folder()
        target = self._target(photo, sheet)
        write_atomically(target, _encoded(photo, sheet))
        self.written.add(target)
        return target

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise EngineError(f"{self.folder} cannot be made: {err}", hint="Give --explain a folder.") from err

    def _target(self, photo: Photo, sheet: _Sheet) -> Path:
        """Return a free name, or that of the picture of the same photo, concept and kind from an earlier run."""
        word = "".join(c if c.isalnum() or c in _PLAIN else "_" for c in sheet.concept).strip()[:_LONGEST] or "_"
        start = f"{_short(photo.path.stem)}-{_short(word)}{sheet.ending and f'-{sheet.ending}'}"
        for n in range(1, _TRIES):
            target = self.folder / f"{start}{'' if n == 1 else f'-{n}'}.png"
            same = target not in self.written and _has(target, sheet.marks(photo))
            if same or not (target.exists() or target in self.written):
                return target
        raise EngineError(f"{self.folder} is full of pictures of {photo.path.stem}", hint="Give another folder.")


@dataclass(frozen=True)
class Explainer:
    """Draws what explains a photo's recognised concepts, with the gallery that recognised them."""

    store: ConceptStore
    extractor: CachedExtractor
    vlm: VlmInUse
    gallery: Gallery
    pictures: Pictures

    def explain(
        self, photo: Photo, recognised: Sequence[Concept], known: Mapping[str, "PersonalisedConcept"]
    ) -> ExplanationPictures:
        """Draw two pictures of each concept that was recognised in a photo.

        `<stem>-<name>.png` shows what the concept's embedding attends to in the VLM; it is left out for concepts that
        are not in `known` (by id), and for photos that the VLM cannot describe. `<stem>-<name>-why.png` shows why the
        concept was recognised. Photos are explained one at a time, because the batch size shows in the bytes.

        Raises:
            EngineError: the folder cannot be created.
        """
        explanations = [explain_recognition(self.store, self.extractor, self.gallery, photo, c) for c in recognised]
        can_describe = self.vlm.can_describe(photo.software)
        prompted = [known[c.id] for c in recognised if c.id in known] if can_describe else []
        pictures, notes = [], []
        if len(prompted) < len(recognised):
            notes.append("no picture of attention: the VLM does not know the concept, or not such photos")
        try:
            attention = tuple(_attention_sheets(self.vlm, photo, prompted))
        except UsageError as err:
            attention = ()
            notes.append(f"no picture of attention: {err}")
        sheets = (
            *attention,
            *(_Sheet(e.concept.name, draw_explanation(photo, e), _WHY) for e in explanations),
        )
        for sheet in sheets:
            try:
                pictures.append(self.pictures.write(photo, sheet))
            except OSError as err:
                notes.append(f"the picture of {sheet.concept} cannot be written: {err.strerror or err}")
        return ExplanationPictures(tuple(pictures), tuple(notes), tuple(explanations))


def save_explanation(photo: Photo, explanation: Explanation, target: Path) -> None:
    """Draw into a PNG file why a concept was or was not recognised.

    Raises:
        UsageError: the name is not that of a PNG file, or the file would replace the photo or a file of another kind.
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
        write_atomically(
            target, _encoded(photo, _Sheet(explanation.concept.name, draw_explanation(photo, explanation), _WHY))
        )
    except OSError as err:
        raise EngineError(f"{target} cannot be written: {err}", hint="Give --draw another place.") from err


def _attention_sheets(vlm: VlmInUse, photo: Photo, known: Sequence["PersonalisedConcept"]) -> Iterator[_Sheet]:
    """Draw what the embeddings of these concepts attend to."""
    from engine.vlms import generate

    if not known:
        return
    (maps,) = generate.attention(vlm.model, [photo.image], [known])
    view = vlm.model.view(photo.image)
    for concept, heat in zip(generate.speakable(known), maps, strict=True):
        yield _Sheet(concept.concept.name, draw_heat(photo.image, heat, view))


def _encoded(photo: Photo, sheet: _Sheet) -> bytes:
    marks = PngImagePlugin.PngInfo()
    for key, value in sheet.marks(photo).items():
        marks.add_itxt(key, value)
    data = io.BytesIO()
    sheet.page.save(data, "PNG", pnginfo=marks)
    return data.getvalue()


def _short(text: str) -> str:
    """Shorten a text for a file name; a hash keeps different texts different."""
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
