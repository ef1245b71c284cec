"""What users and other programs read stays as it is: help texts, sidecars, JSON, on a fixed run over drawn photos.

Update the files in tests/golden after a change that is meant, and read the diff before you commit it:

    MYVLM_GOLDEN_UPDATE=1 pytest -n0 tests/cli/test_golden.py && git diff tests/golden

`messages.txt` holds what is printed for people, apart from the data, since words may change more often.

The golden files hold for any machine, so digests are masked. To compare two versions on one machine with all their
digests: MYVLM_GOLDEN_RAW=/tmp/before pytest -n0 tests/cli/test_golden.py, the same with /tmp/after on the other
version, then diff -r /tmp/before /tmp/after.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.storybook.album import ANNA, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_lookalike
from engine.storybook.world.scenes import compose
from tests import learned
from tests.golden_files import check, is_same, normalise, write_raw

ALIKE = 54
"""Seed of a look-alike of Rex that is a suggestion: its score lies in the middle between both thresholds."""
BY_HAND = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmp:Rating="4">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">Our summer.</rdf:li></rdf:Alt></dc:description>
   <dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>Trips|holiday</rdf:li></rdf:Bag></lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


class Recorder:
    """Runs commands and keeps what they print and write, without what differs between runs."""

    def __init__(self, myvlm, folders: dict[Path, str]) -> None:
        self.myvlm, self.folders = myvlm, folders
        self.texts: dict[str, str] = {}
        self.raw: dict[str, str] = {}
        self.messages: list[str] = []

    def run(self, name: str, *arguments) -> None:
        result = self.myvlm(*arguments)
        command = " ".join(["myvlm", *map(str, arguments)])
        self._keep(f"{name}.txt", f"$ {command}\nexit code {result.code}\n\n{result.out}")
        self.messages.append(f"$ {command}\n{result.err}\n")

    def keep_sidecars(self, name: str, album: Path) -> None:
        for path in sorted(album.rglob("*")):
            if path.suffix in (".xmp", ".json"):
                self._keep(f"{name}/{path.relative_to(album).as_posix()}", path.read_bytes().decode("utf-8"))

    def _keep(self, name: str, text: str) -> None:
        assert name not in self.texts
        self.texts[name] = normalise(text, self.folders)
        self.raw[name] = normalise(text, self.folders, raw=True)

    def check(self, folder: str) -> None:
        self._keep("messages.txt", "".join(self.messages))
        write_raw(folder, self.raw)
        check(folder, self.texts)


@pytest.fixture
def album(tmp_path) -> Path:
    """Rex, Rex with Anna, Anna with a sidecar made by hand, a look-alike, nobody, and a file that is no picture."""
    folder = tmp_path / "album"
    learned.draw_album(folder)
    save_photo(compose(np.random.default_rng(12), (ANNA,), place="beach"), folder / "anna.jpg")
    (folder / "anna.jpg.xmp").write_text(BY_HAND, "utf-8")
    rng = np.random.default_rng(ALIKE)
    save_photo(compose(rng, (draw_lookalike(rng, REX),), place="beach"), folder / "alike.jpg")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def recorder(myvlm, session, learned_folder, tmp_path) -> Recorder:
    """A recorder for a store that knows Rex and Anna."""
    session.store.close()
    return Recorder(myvlm, {tmp_path: "TMP", learned_folder: "LEARNED"})


def test_run_with_a_vlm(recorder, album, tmp_path):
    run, vlm = recorder.run, ("--vlm", "storybook")
    run("scan", "scan", album, *vlm, "--json")
    run("status-new", "status", album, *vlm, "--json")
    run("caption-dry-run", "caption", album, *vlm, "--dry-run", "--jsonl")
    recorder.keep_sidecars("sidecars-before", album)
    run("caption", "caption", album, *vlm, "--jsonl", "--explain", tmp_path / "why")
    recorder.keep_sidecars("sidecars", album)
    run("pictures", "caption", album, *vlm, "--json")
    run("status", "status", album, *vlm, "--json")
    run("status-text", "status", album, *vlm, "--all")
    run("ask", "ask", album, "What is Rex doing?", *vlm, "--json")
    run("ask-where", "ask", album / "both.jpg", "Where is Rex?", *vlm)
    run("locate", "locate", "Rex", album, *vlm, "--jsonl")
    run("locate-text", "locate", "Anna", album, *vlm)
    run("concepts", "concepts", "list", "--json")
    run("concepts-text", "concepts", "list")
    run("show", "concepts", "show", "Rex", "--json")
    run("show-text", "concepts", "show", "Anna")
    run("explain-named", "concepts", "show", "Rex", album / "both.jpg", *vlm, "--json")
    run("explain-suggested", "concepts", "show", "Rex", album / "alike.jpg", *vlm, "--json")
    run("explain-absent", "concepts", "show", "Anna", album / "nobody.jpg", *vlm, "--json")
    run("explain-text", "concepts", "show", "Anna", album / "both.jpg", *vlm)
    run("explain-paper", "concepts", "show", "Rex", album / "both.jpg", *vlm, "--heads", "paper", "--json")
    run("review", "review", album, *vlm, "--json")
    run("review-text", "review", album, *vlm)
    run("undo-dry-run", "undo", "--dry-run", "--json")
    run("runs", "runs", "--json")
    run("confirm", "confirm", album / "alike.jpg", "Rex", "--json")
    run("reject", "reject", album / "both.jpg", "Anna", "--json")
    run("show-decided", "concepts", "show", "Rex", "--json")
    run("status-decided", "status", album, *vlm, "--json")
    more = ("--regions", "all", "--hierarchy", "--on-existing", "replace-all")
    run("caption-decided", "caption", album, *vlm, *more, "--jsonl")
    recorder.keep_sidecars("sidecars-decided", album)
    run("caption-only", "caption", album, *vlm, "--concepts", "rex", "--only", "--force", "--jsonl")
    recorder.keep_sidecars("sidecars-only", album)
    run("rename", "concepts", "rename", "Rex", "Max", "--json")
    run("status-renamed", "status", album, *vlm, "--json")
    run("forget", "forget", "Anna", "--yes", "--json")
    run("caption-paper", "caption", album, *vlm, "--heads", "paper", "--jsonl")
    for again in ("", "-2", "-3", "-4"):
        run(f"undo{again}", "undo", "--yes", "--json")
    recorder.keep_sidecars("sidecars-undone", album)
    recorder.check("storybook")


def test_run_with_names_only(recorder, album):
    with Image.open(album / "both.jpg") as photo:
        photo.load()
    photo.save(album / "camera.jpg", quality=95)  # without the mark of the storybook
    run, vlm = recorder.run, ("--vlm", "none")
    run("caption", "caption", album, *vlm, "--jsonl")
    recorder.keep_sidecars("sidecars", album)
    run("status", "status", album, *vlm, "--json")
    run("ask", "ask", album / "both.jpg", "Where is Rex?", *vlm, "--json")
    run("locate", "locate", "Rex", album, *vlm, "--json")
    run(
        "caption-with-vlm", "caption", album, "--exclude", "camera.jpg", "--vlm", "storybook", "--limit", "2", "--jsonl"
    )
    run("undo-dry-run", "undo", "--dry-run", "--jsonl")
    run("undo", "undo", "--jsonl")
    run("undo-2", "undo", "--yes", "--jsonl")
    recorder.keep_sidecars("sidecars-undone", album)
    recorder.check("names-only")


def test_a_new_concept(recorder, tmp_path):
    references = tmp_path / "Luna"
    learned.draw_references(references, REX, 9)
    shutil.copy(references / "0.jpg", references / "copy.jpg")
    (references / "broken.jpg").write_bytes(b"no picture")
    recorder.run("add-concept", "add-concept", "Luna", references, "--vlm", "storybook", "--json")
    recorder.run("remove-photos", "concepts", "remove-photos", "Luna", references / "3.jpg", "--json")
    recorder.run("show", "concepts", "show", "Luna", "--json")
    recorder.run("merge", "concepts", "merge", "Rex", "Luna", "--yes", "--json")
    recorder.check("concept")


def help_texts() -> Iterator[tuple[str, str]]:
    from typer.main import get_command
    from typer.testing import CliRunner

    from myvlm_cli.main import app

    runner = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1", "TERM": "dumb"})

    def walk(command, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        result = runner.invoke(app, [*words, "--help"], prog_name="myvlm")
        assert result.exit_code == 0
        yield " ".join(["myvlm", *words]), result.output
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*words, name))

    yield from walk(get_command(app), ())


def test_help_texts():
    texts = {"help.txt": "".join(f"$ {command} --help\n{text}\n" for command, text in help_texts())}
    write_raw("help", texts)
    check("help", texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"score": 3.2391, "box": [70, 134, 431, 420]', True),
        ('"score": 3.2703, "box": [71, 133, 431, 422]', True),
        ('"score": 3.4391, "box": [70, 134, 431, 420]', False),
        ('"score": 3.2391, "box": [70, 134, 431, 424]', False),
        ('"score": 3.2391, "box": [70, 134, 431]', False),
        ('"Score": 3.2391, "box": [70, 134, 431, 420]', False),
        ('"score": 3.2391,  "box": [70, 134, 431, 420]', False),
    ],
)
def test_only_numbers_may_differ_and_only_a_little(text, expected):
    assert is_same(normalise(text, {}), '"score": ~3.24, "box": [~70, ~134, ~431, ~420]') is expected
