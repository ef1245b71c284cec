"""`myvlm demo`."""

import shlex
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out, path_text
from myvlm_cli.tables import Column, print_table

_MARK = ".myvlm-demo"
_MADE = ("album", "home", "located", "rex", "mug", "anna")
"""What a demo leaves in its folder; a second demo in the same folder starts by deleting these."""
_PINNED = ("--vlm", "storybook")
"""What the printed commands need on a machine that has a better VLM."""
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
    began, folder = time.monotonic(), folder.expanduser().absolute()  # what is printed works in any folder
    _prepare(folder)
    from engine.session import Session, SessionOptions

    session = Session(SessionOptions(vlm="storybook", device="cpu"), folder / "home")
    album = _draw(folder, seed)
    _learn(session, album, seed)
    results = _caption(session, album)
    answers = _ask(session, results)
    boxes = _locate(session, album)
    sheet = _sheet(results, folder)
    _finish(album, results, answers, boxes, sheet, json=json, seconds=time.monotonic() - began)


def _prepare(folder: Path) -> None:
    from engine.core.errors import UsageError
    from engine.core.files import make_private_folder

    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise UsageError(f"{folder} is not empty", hint="Name another folder: myvlm demo FOLDER")
    for name in _MADE:
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    make_private_folder(folder / "home")


def _step(text: str, *command: str | Path) -> None:
    """Say what comes next, and the command that does the same."""
    out.say("")
    out.say(text)
    if command:
        _show(*command)


def _show(*command: str | Path) -> None:
    """A command that can be pasted into a shell."""
    out.say(f"  $ {' '.join(shlex.quote(path_text(part) if isinstance(part, Path) else part) for part in command)}")


def _draw(folder: Path, seed: int) -> Any:
    from engine.storybook.album import draw_album

    _step(f"Drawing an album of the storybook into {path_text(folder)}")
    album = draw_album(folder, seed)
    out.say(f"  {len(album.photos)} photos in album/, and reference photos of {', '.join(album.concept_folders)}")
    _step("The demo keeps its concepts apart from yours. To repeat its commands, start with:")
    out.say(f"  $ export MYVLM_HOME={shlex.quote(path_text(folder / 'home'))}")
    return album


def _learn(session: Any, album: Any, seed: int) -> None:
    from engine.concepts.enrol import enrol
    from engine.training.train import Progress, train_concept

    seeded = ("--seed", str(seed))
    for name, photos in album.concept_folders.items():
        _step(f"Enrolling {name} from reference photos", "myvlm", "add-concept", name, photos, *_PINNED, *seeded)
        done = enrol(session, name, [photos], seed=seed)
        for f in done.findings:
            out.say(f"  {f.path.name}: {f.found}")
        out.say(f"  -> {done.concept.kind}, class word {done.concept.category}")
    _step("Training, so that sentences use the names", "myvlm", "train", "--all", *_PINNED, *seeded)
    for concept in session.store.all():
        began = time.monotonic()
        with out.progress(concept.name, session.vlm_config.training.steps, "steps") as bar:
            for event in train_concept(session, concept, seed=seed):
                if isinstance(event, Progress):
                    bar.advance(f"{concept.name}  loss {event.cross_entropy:.3f}")
        out.say(f"  {concept.name}: loss {event.loss:.3f} after {event.steps} steps, {time.monotonic() - began:.1f} s")


def _caption(session: Any, album: Any) -> list[Any]:
    from engine.captioning.caption import CaptionRequest, caption_photos
    from engine.photos.discovery import iter_photos

    _step("Captioning the album", "myvlm", "caption", album.folder, *_PINNED)
    photos = list(iter_photos([album.folder]))
    results = []
    with out.progress("Captioning", len(photos)) as bar:
        for result in caption_photos(session, photos, CaptionRequest()):
            results.append(result)
            bar.advance()
    out.say(f"  {len(results)} captions, each in a .xmp and a .myvlm.json sidecar beside its photo")
    return results


def _ask(session: Any, results: list[Any]) -> list[dict[str, str]]:
    from engine.captioning.answer import answer_question

    _step("Asking")
    found = []
    for name, question in _QUESTIONS:
        photo = next((r.path for r in results if any(m.name == name for m in r.matches)), None)
        if photo is None:
            continue
        _show("myvlm", "ask", photo, question, *_PINNED)
        for reply in answer_question(session, [photo], question):
            out.say(f"  {reply.answer or reply.reason}")
            found.append({"file": path_text(photo), "question": question, "answer": reply.answer or ""})
    return found


def _locate(session: Any, album: Any) -> dict[str, dict[str, list[int]]]:
    from engine.captioning.locate import locate_concept

    drawings = album.folder.parent / "located"
    _step("Locating", "myvlm", "locate", "Rex", album.folder, "--draw", drawings, *_PINNED)
    paths = [p.path for p in album.photos]
    boxes: dict[str, dict[str, list[int]]] = {}
    for name in album.concept_folders:
        for location in locate_concept(session, name, paths, draw=drawings if name == "Rex" else None):
            if location.match:
                boxes.setdefault(path_text(location.path), {})[name] = list(location.match.box.rounded())
    out.say(f"  boxes in {len(boxes)} of {len(paths)} photos; those of Rex are drawn in {path_text(drawings)}")
    return boxes


def _sheet(results: list[Any], folder: Path) -> Path:
    from engine.captioning.contact_sheet import draw_contact_sheet

    return draw_contact_sheet(results, folder / "contact-sheet.png")


def _finish(
    album: Any,
    results: list[Any],
    answers: list[Any],
    boxes: dict[str, Any],
    sheet: Path,
    *,
    json: bool,
    seconds: float,
) -> None:
    rows = [
        {
            "file": path_text(r.path),
            "caption": r.caption,
            "recognised": [m.name for m in r.matches],
            "really": list(album.truth[r.path]),
            "boxes": boxes.get(path_text(r.path), {}),
        }
        for r in results
    ]
    if json:
        out.json_document({"photos": rows, "answers": answers, "sheet": path_text(sheet), "seconds": round(seconds, 1)})
    else:
        print_table(_COLUMNS, [_cells(r) for r in rows])
    out.say("")
    out.say(f"All of it in one picture: {path_text(sheet)}   ({seconds:.0f} s)")
    out.say(f"To remove the demo: rm -r {shlex.quote(path_text(sheet.parent))}")
    out.say("Next, with your own photos and without the demo's MYVLM_HOME: myvlm add-concept NAME FOLDER")


_COLUMNS = (
    Column("photo", "photo"),
    Column("caption", "caption", prose=True),
    Column("recognised", "recognised", prose=True),
    Column("really there", "really_there", prose=True),
    Column("", "boxes"),
)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    boxes = "; ".join(f"{name} {' '.join(map(str, box))}" for name, box in row["boxes"].items())
    names, truth = (", ".join(row[key]) or "-" for key in ("recognised", "really"))
    return (Path(row["file"]).name, row["caption"] or "", names, truth, boxes)
