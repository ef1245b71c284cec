"""Pictures of what a concept's row attends to, over copies of the photos (the paper's fig. 3)."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from engine.errors import EngineError
from engine.files import write_atomically
from engine.photos.decode import Photo
from engine.photos.drawing import draw_heat
from engine.pipeline.session import Session

if TYPE_CHECKING:
    from engine.tasks import Known

_SOFTWARE = "myvlm explain"
"""PNG text `Software` of our pictures: nothing else is ever replaced by one."""
_PLAIN = "-_ "
_LONGEST = 60
_TRIES = 10_000


@dataclass
class Pictures:
    """Writes heat maps into a folder, which is made with the first; `written` are those of this run."""

    folder: Path
    written: set[Path] = field(default_factory=set)

    def explain(
        self, session: Session, photos: Sequence[Photo], known: Sequence[Sequence["Known"]]
    ) -> list[tuple[Path, ...]]:
        """One picture a photo and recognised concept, `<stem>-<name>.png`; photos without concepts get none.

        Raises:
            EngineError: a picture cannot be written.
        """
        from engine import tasks

        found: list[tuple[Path, ...]] = []
        for photo, own in zip(photos, known, strict=True):  # one at a time: what else is in a batch shows in the bytes
            maps = tasks.attention(session.vlm, [photo.image], [own])[0] if own else []
            view = session.vlm.view(photo.image)
            found.append(
                tuple(
                    self._write(photo, k.concept.name, draw_heat(photo.image, heat, view))
                    for k, heat in zip(own, maps, strict=True)
                )
            )
        return found

    def _write(self, photo: Photo, name: str, page: Image.Image) -> Path:
        marks = PngImagePlugin.PngInfo()
        for key, value in _marks(photo, name).items():
            marks.add_itxt(key, value)
        data = io.BytesIO()
        page.save(data, "PNG", pnginfo=marks)
        target = self._target(photo, name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(target, data.getvalue())
        except OSError as err:
            raise EngineError(f"{target} cannot be written: {err}", hint="Give --explain a folder.") from err
        self.written.add(target)
        return target

    def _target(self, photo: Photo, name: str) -> Path:
        """A free name, or that of the picture of the same photo and concept from an earlier run."""
        word = "".join(c if c.isalnum() or c in _PLAIN else "_" for c in name).strip()[:_LONGEST] or "_"
        for n in range(1, _TRIES):
            target = self.folder / f"{photo.path.stem}-{word}{'' if n == 1 else f'-{n}'}.png"
            same = target not in self.written and _is_of(target, photo, name)
            if same or not (target.exists() or target in self.written):
                return target
        raise EngineError(f"{self.folder} is full of pictures of {photo.path.stem}", hint="Give another folder.")


def _marks(photo: Photo, name: str) -> dict[str, str]:
    return {"Title": name, "Software": _SOFTWARE, "Source": photo.facts.content_hash}


def _is_of(path: Path, photo: Photo, name: str) -> bool:
    try:
        with Image.open(path) as opened:
            return {k: opened.info.get(k) for k in _marks(photo, name)} == _marks(photo, name)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False
