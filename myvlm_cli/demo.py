"""`myvlm demo`."""

import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli import options as o
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.tables import Column, print_table

if TYPE_CHECKING:
    from engine.captioning.results import PhotoResult
    from engine.core.types import Concept
    from engine.session import Session
    from engine.storybook.album import Album

Boxes = dict[str, dict[str, list[int]]]
"""Boxes in whole pixels, by photo and name."""
_MARK = ".myvlm-demo"
_MADE = ("album", "gallery", "home", "located", "rex", "mug", "anna")
"""What a demo writes into its folder; a second demo in the same folder first deletes these."""
_QUESTIONS = (
    ("Rex", "What is Rex doing in the image?"),
    ("Anna", "What is Anna wearing in the image?"),
    ("Mug", "Where is Mug in the image?"),
)


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to put the album, the sidecars and the demo's own concept store.")
    ] = Path("myvlm-demo"),
    seed: o.Seed = 7,
    json: o.Json = False,
) -> None:
    """Try everything offline on a drawn album. It learns three concepts, then captions, asks and locates.

    Example: myvlm demo
    """
    began, folder = time.monotonic(), folder.expanduser().absolute()  # so that the printed commands work in any folder
    _prepare(folder)
    from engine.session import Session, SessionOptions

    session = Session(SessionOptions(device="cpu"), folder / "home")
    album = _draw(folder, seed)
    _learn(session, album, seed)
    results = _caption(session, album)
    answers = _ask(session, results)
    boxes = _locate(session, album)
    sheet = _sheet(results, folder)
    outcome = _Outcome(results, answers, boxes, sheet, _gallery(album, folder))
    _finish(album, outcome, json=json, seconds=time.monotonic() - began)


def _prepare(folder: Path) -> None:
    from engine.defaults import set_default

    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise UsageError(f"{folder} is not empty", hint="Name another folder: myvlm demo FOLDER")
    for name in _MADE:
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    for key in ("vlm", "recogniser"):
        set_default(folder / "home", key, "storybook")


def _step(text: str, *command: str | Path) -> None:
    """Print what comes next, and the command that does the same."""
    out.say("")
    out.say(text)
    if command:
        _show(*command)


def _show(*command: str | Path) -> None:
    """Print a command that can be pasted into a shell."""
    out.say(f"  $ {' '.join(shlex.quote(path_text(part) if isinstance(part, Path) else part) for part in command)}")


def _draw(folder: Path, seed: int) -> "Album":
    from engine.storybook.album import draw_album

    _step(f"Drawing an album of the storybook into {path_text(folder)}")
    album = draw_album(folder, seed)
    out.say(f"  {len(album.photos)} photos in album/, and reference photos of {', '.join(album.concept_folders)}")
    _step("The demo keeps its concepts apart from yours. To repeat its commands, first run:")
    out.say(f"  $ export MYVLM_HOME={shlex.quote(path_text(folder / 'home'))}")
    return album


def _learn(session: "Session", album: "Album", seed: int) -> None:
    """Enrol and train the album's concepts."""
    from engine.concepts.enrol import enrol

    seeded = ("--seed", str(seed))
    for name, photos in album.concept_folders.items():
        _step(f"Enrolling {name} from reference photos", "myvlm", "add-concept", name, photos, *seeded)
        done = enrol(session, name, [photos], seed=seed)
        for f in done.findings:
            out.say(f"  {f.path.name}: {f.found}")
        out.say(f"  -> {done.concept.kind}, category {done.concept.category}")
    _step("Training, so that sentences use the names", "myvlm", "train", "--all", *seeded)
    for concept in session.store.all():
        _train(session, concept, seed)


def _train(session: "Session", concept: "Concept", seed: int) -> None:
    from engine.store.concepts import Embedding
    from engine.training.train import Progress, train_concept

    began = time.monotonic()
    with out.progress(concept.name, session.vlm_config.training.steps, "steps") as bar:
        for event in train_concept(session, concept, seed=seed):
            if isinstance(event, Progress):
                bar.advance(f"{concept.name}  loss {event.cross_entropy:.3f}")
            elif isinstance(event, Embedding):
                seconds = time.monotonic() - began
                out.say(f"  {concept.name}: loss {event.loss:.3f} after {event.steps} steps, {seconds:.1f} s")


def _caption(session: "Session", album: "Album") -> "list[PhotoResult]":
    from engine.captioning.caption import caption_photos
    from engine.captioning.caption_run import CaptionRequest
    from engine.photos.discovery import iter_photos

    _step("Captioning the album", "myvlm", "caption", album.folder)
    photos = list(iter_photos([album.folder]))
    results = []
    with out.progress("captioning", len(photos)) as bar:
        for result in caption_photos(session, photos, CaptionRequest()):
            results.append(result)
            bar.advance()
    out.say(f"  {len(results)} captions, each in a .xmp and a .myvlm.json sidecar beside its photo")
    return results


def _ask(session: "Session", results: "list[PhotoResult]") -> list[Document]:
    from engine.captioning.answer import answer_question

    _step("Asking")
    answers: list[Document] = []
    for name, question in _QUESTIONS:
        photo = next((r.path for r in results if any(m.name == name for m in r.matches)), None)
        if photo is None:
            continue
        _show("myvlm", "ask", photo, question)
        for reply in answer_question(session, [photo], question):
            out.say(f"  {reply.answer or reply.reason}")
            answers.append({"file": path_text(photo), "question": question, "answer": reply.answer or ""})
    return answers


def _locate(session: "Session", album: "Album") -> Boxes:
    from engine.captioning.locate import locate_concept

    drawings = album.folder.parent / "located"
    _step("Locating", "myvlm", "locate", "Rex", album.folder, "--draw", drawings)
    paths = [p.path for p in album.photos]
    boxes: Boxes = {}
    for name in album.concept_folders:
        for location in locate_concept(session, name, paths, draw=drawings if name == "Rex" else None):
            if location.match:
                boxes.setdefault(path_text(location.path), {})[name] = list(location.match.box.rounded())
    found = sum("Rex" in located for located in boxes.values())
    out.say(f"  Rex found in {found} of {len(paths)} photos; the boxes are drawn in {path_text(drawings)}")
    return boxes


def _sheet(results: "list[PhotoResult]", folder: Path) -> Path:
    from engine.captioning.contact_sheet import draw_contact_sheet

    return draw_contact_sheet(results, folder / "contact-sheet.png")


def _gallery(album: "Album", folder: Path) -> Path:
    """Write the captioned album as a gallery, and return its page."""
    from engine.library.search import SearchCounts, SearchRequest, search
    from engine.pages.gallery import write_gallery

    _step("Making a gallery", "myvlm", "search", "--in", album.folder, "--html", folder / "gallery")
    found = list(search(folder / "home", SearchRequest(folders=(album.folder,)), SearchCounts()))
    return write_gallery(found, folder / "gallery", "Album").page


@dataclass(frozen=True)
class _Outcome:
    """What the demo made of the album."""

    results: "list[PhotoResult]"
    answers: list[Document]
    boxes: Boxes
    sheet: Path
    gallery: Path


def _finish(album: "Album", outcome: _Outcome, *, json: bool, seconds: float) -> None:
    """Print the results, and what to do next."""
    sheet, gallery = path_text(outcome.sheet), path_text(outcome.gallery)
    if json:
        photos = [_describe(album, outcome, r) for r in outcome.results]
        document: Document = {"photos": photos, "answers": outcome.answers, "sheet": sheet, "gallery": gallery}
        out.json_document(document | {"seconds": round(seconds, 1)})
    else:
        print_table(_COLUMNS, [_cells(album, outcome, r) for r in outcome.results])
    out.say("")
    out.say(f"All results in one picture: {sheet}   ({seconds:.0f} s)")
    out.say(f"As a gallery, for your browser: {gallery}")
    out.say(f"To remove the demo: rm -r {shlex.quote(path_text(outcome.sheet.parent))}")
    out.say("Next, with your own photos and without the demo's MYVLM_HOME: myvlm add-concept NAME FOLDER")


_COLUMNS = (
    Column("photo"),
    Column("caption", prose=True),
    Column("recognised", prose=True),
    Column("really_there", prose=True),
    Column("boxes", only="pipe"),
)


def _describe(album: "Album", outcome: _Outcome, result: "PhotoResult") -> Document:
    return {
        "file": path_text(result.path),
        "caption": result.caption,
        "recognised": [m.name for m in result.matches],
        "really": list(album.truth[result.path]),
        "boxes": outcome.boxes.get(path_text(result.path), {}),
    }


def _cells(album: "Album", outcome: _Outcome, result: "PhotoResult") -> tuple[str, ...]:
    found = outcome.boxes.get(path_text(result.path), {})
    boxes = "; ".join(f"{name} {' '.join(map(str, box))}" for name, box in found.items())
    names = ", ".join(m.name for m in result.matches) or "-"
    truth = ", ".join(album.truth[result.path]) or "-"
    return (result.path.name, result.caption or "", names, truth, boxes)
