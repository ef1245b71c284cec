"""Pictures of what a concept's row attends to, over copies of the photos (the paper's fig. 3)."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from engine.errors import EngineError
from engine.files import sha256_of, write_atomically
from engine.photos.decode import Photo
from engine.photos.drawing import draw_heat
from engine.pipeline.session import Session

if TYPE_CHECKING:
    from engine.tasks import Known

_SOFTWARE = "myvlm explain"
"""PNG text `Software` of our pictures: nothing else is ever replaced by one."""
_PLAIN = "-_ "
_LONGEST = 60
_MOST_BYTES, _HASH = 120, 8
"""Of a photo's stem and of a name in a file name, which may have 255."""
_TRIES = 10_000


@dataclass(frozen=True)
class Drawn:
    """The pictures of one photo, and notes about those that could not be written."""

    pictures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Pictures:
    """Writes heat maps into a folder, which is made with the first; `written` are those of this run."""

    folder: Path
    written: set[Path] = field(default_factory=set)

    def explain(self, session: Session, photos: Sequence[Photo], known: Sequence[Sequence["Known"]]) -> list[Drawn]:
        """One picture a photo and concept that the VLM was told of, `<stem>-<name>.png`; photos without get none.

        Raises:
            EngineError: the folder cannot be made.
        """
        from engine import tasks

        found = []
        for photo, own in zip(photos, known, strict=True):  # one at a time: what else is in a batch shows in the bytes
            maps = tasks.attention(session.vlm, [photo.image], [own])[0] if own else []
            view, pictures, notes = session.vlm.view(photo.image), [], []
            for k, heat in zip(tasks.speakable(own), maps, strict=True):
                self._make_folder()
                try:
                    pictures.append(self._write(photo, k.concept.name, draw_heat(photo.image, heat, view)))
                except OSError as err:
                    notes.append(f"the picture of {k.concept.name} cannot be written: {err.strerror or err}")
            found.append(Drawn(tuple(pictures), tuple(notes)))
        return found

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise EngineError(f"{self.folder} cannot be made: {err}", hint="Give --explain a folder.") from err

    def _write(self, photo: Photo, name: str, page: Image.Image) -> Path:
        marks = PngImagePlugin.PngInfo()
        for key, value in _marks(photo, name).items():
            marks.add_itxt(key, value)
        data = io.BytesIO()
        page.save(data, "PNG", pnginfo=marks)
        target = self._target(photo, name)
        write_atomically(target, data.getvalue())
        self.written.add(target)
        return target

    def _target(self, photo: Photo, name: str) -> Path:
        """A free name, or that of the picture of the same photo and concept from an earlier run."""
        word = "".join(c if c.isalnum() or c in _PLAIN else "_" for c in name).strip()[:_LONGEST] or "_"
        start = f"{_short(photo.path.stem)}-{_short(word)}"
        for n in range(1, _TRIES):
            target = self.folder / f"{start}{'' if n == 1 else f'-{n}'}.png"
            same = target not in self.written and _is_of(target, photo, name)
            if same or not (target.exists() or target in self.written):
                return target
        raise EngineError(f"{self.folder} is full of pictures of {photo.path.stem}", hint="Give another folder.")


def _short(text: str) -> str:
    """A text that leaves room in a file name; what is cut off stays told apart by a hash."""
    if len(os.fsencode(text)) <= _MOST_BYTES:
        return text
    mark = f"~{sha256_of(os.fsencode(text))[:_HASH]}"
    kept = text[:_MOST_BYTES]
    while len(os.fsencode(kept + mark)) > _MOST_BYTES:
        kept = kept[:-1]
    return kept + mark


def _marks(photo: Photo, name: str) -> dict[str, str]:
    return {"Title": name, "Software": _SOFTWARE, "Source": photo.facts.content_hash}


def _is_of(path: Path, photo: Photo, name: str) -> bool:
    try:
        with Image.open(path) as opened:
            return {k: opened.info.get(k) for k in _marks(photo, name)} == _marks(photo, name)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False
