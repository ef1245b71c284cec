"""myvlm review: what is not sure enough for a caption, listed, shown on a page, and decided."""

import base64
import io
import json
import math
import os
import re
import shutil
import stat
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import engine.recognition.scan
import engine.session
from engine.concepts.review import Suggestion
from engine.core.boxes import Box
from engine.core.errors import EngineError
from engine.core.types import Kind, Match, Verdict
from engine.pages.review_page import decision_line, render_review, write_page
from engine.session import Session, SessionOptions
from tests.recognition.test_scan import count_calls, tree
from tests.suggested import EVERYTHING, NOTHING, settle


def pairs(result) -> set[tuple[str, str]]:
    return {(Path(m["file"]).name, m["concept"]) for m in result.json["maybes"]}


def named(result) -> dict[str, list[str]]:
    return {Path(p["file"]).name: [c["name"] for c in p["concepts"]] for p in result.json["photos"]}


ALL = {("rex.jpg", "Rex"), ("both.jpg", "Rex"), ("both.jpg", "Anna"), ("nobody.jpg", "Rex")}


class Page(HTMLParser):
    """A page's elements with their attributes, and the data that its script reads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text("utf-8")
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(self.text)
        block = re.search(r'<script type="application/json" id="data">(.*?)</script>', self.text, re.DOTALL)
        self.data = json.loads(block[1])

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag: str) -> list[dict]:
        return [attrs for t, attrs in self.elements if t == tag]

    @property
    def cards(self) -> list[dict]:
        return [a for a in self.of("li") if a.get("class") == "card"]

    @property
    def shown(self) -> list[str]:
        """The pictures in the page's elements."""
        return [a["src"] for a in self.of("img") if a.get("src")]

    def save(self, path: Path, *verdicts: str) -> Path:
        """What the browser would save when the first maybes got these verdicts ("" is undecided)."""
        chosen = [lines[v == "reject"] for lines, v in zip(self.data["lines"], verdicts, strict=False) if v]
        path.write_text("".join(line + "\n" for line in chosen), "ascii")
        return path


def write(myvlm, album, page: Path, *options) -> Page:
    result = myvlm("review", album, "--html", page, *options)
    assert (result.code, result.out) == (0, f"{page}\n"), result.err
    return Page(page)


def test_maybes_are_listed_and_in_no_caption(myvlm, album):
    captions = myvlm("caption", album, "--json")
    assert named(captions) == {"rex.jpg": [], "both.jpg": [], "nobody.jpg": []}
    assert b"Rex" not in b"".join(p.read_bytes() for p in album.iterdir() if p.suffix in (".xmp", ".json"))
    before = tree(album)
    result = myvlm("review", album, "--json")
    assert result.code == 0, result.err
    assert pairs(result) == ALL
    assert tree(album) == before
    assert (result.json["more"], result.json["unreadable"], result.json["html"]) == (0, [], None)
    for m in result.json["maybes"]:
        assert m["confidence"] == pytest.approx(1 / (1 + math.exp(-m["score"])), abs=2e-4)
    missing = [m["name_threshold"] - m["score"] for m in result.json["maybes"]]
    assert missing == sorted(missing)
    rex = next(m for m in result.json["maybes"] if m["file"].endswith("rex.jpg"))
    assert (rex["kind"], rex["name_threshold"], rex["maybe_threshold"]) == ("pet", NOTHING, EVERYTHING)
    assert Path(rex["nearest_reference"]["file"]).parent.name == "Rex"
    assert 0.3 < rex["nearest_reference"]["likeness"] <= 1.001
    assert rex["runner_up"] is None


def test_lines_for_scripts(myvlm, album):
    result = myvlm("review", album, "--concepts", "anna")
    header, cells = (line.split("\t") for line in result.out.splitlines())
    row = dict(zip(header, cells, strict=True))
    assert (cells[0], row["concept"], row["name_threshold"]) == (str(album / "both.jpg"), "Anna", f"{NOTHING:.2f}")
    assert row["confidence"].endswith(" %")
    assert row["named_from"] == "over 99.999 %"
    assert "1 suggestion. Next: myvlm confirm " in result.err


def test_a_table_on_a_terminal(myvlm, album, monkeypatch):
    (album / "rex.jpg").rename(album / "[red]\x1b[2Jrex.jpg")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    result = myvlm("review", album)
    assert "named from" in result.out
    assert "[red]\\x1b[2Jrex.jpg" in result.out
    assert re.search(r"[0-3]\.jpg \d\.\d\d", result.out)  # a reference
    assert "\x1b[2J" not in result.out


def test_no_vlm_runs_and_nothing_is_decoded_twice(myvlm, album, monkeypatch):
    def refuse(*_):
        raise AssertionError("the VLM was loaded")

    monkeypatch.setattr(engine.session, "load_vlm", refuse)
    decoded = count_calls(monkeypatch, engine.recognition.scan)
    first = myvlm("review", album)
    assert (len(first.out.splitlines()), decoded.total()) == (1 + 4, 3)
    assert myvlm("review", album).out == first.out
    assert decoded.total() == 3


def test_a_picture_that_is_there_twice_is_told_once(myvlm, album):
    shutil.copy(album / "rex.jpg", album / "zz.jpg")
    assert pairs(myvlm("review", album, "--json")) == ALL


def test_nothing_to_review(myvlm, album, tmp_path):
    settle(album, maybe=80.0)
    page = tmp_path / "page.html"
    result = myvlm("review", album, "--html", page)
    assert (result.code, result.out) == (0, f"{page}\n")
    assert result.err.startswith("Nothing to review: ")
    assert "Nothing to review" in "".join(Page(page).words)
    assert Page(page).data["lines"] == []
    nothing = {"maybes": [], "more": 0, "unreadable": [], "html": None, "not_looked_for": []}
    assert myvlm("review", album, "--json").json == nothing


def test_a_page_from_before_is_emptied_when_nothing_is_left(myvlm, album, tmp_path):
    page = tmp_path / "page.html"
    write(myvlm, album, page)
    settle(album, maybe=80.0)
    result = myvlm("review", album, "--html", page, "--json")
    assert (result.code, result.json["html"], result.json["maybes"]) == (0, str(page), [])
    assert not Page(page).of("img")


def test_nobody_enrolled(myvlm, drawn, tmp_path):
    result = myvlm("review", drawn.path.parent)
    assert (result.code, result.out) == (0, "")
    assert result.err == ("Nothing to review: there are no concepts yet. Start with: myvlm add-concept NAME PHOTOS\n")
    page = tmp_path / "page.html"
    result = myvlm("review", drawn.path.parent, "--html", page)
    assert (result.code, result.out) == (0, f"{page}\n")
    assert Page(page).data["lines"] == []


def lose_head(session: Session, name: str) -> None:
    """Make it a concept that was enrolled with another recogniser only."""
    known = session.store.get(name)
    head = session.store.load_head(known.id, session.recogniser_config.head_id(known.kind))
    session.store.forget(name)
    concept = session.store.put(name, known.kind, known.category, (known.identifier,), known.references)
    session.store.save_head(replace(head, concept_id=concept.id, encoder="another recogniser"))


def test_who_cannot_be_looked_for_is_told(myvlm, session, album):
    session.store.put("Guest", Kind.PERSON, "person", ("guest",), ())
    lose_head(session, "Anna")
    settle(album)
    result = myvlm("review", album, "--json")
    assert result.code == 0, result.err
    assert pairs(result) == {p for p in ALL if p[1] == "Rex"}
    reasons = {n["concept"]: n["reason"] for n in result.json["not_looked_for"]}
    assert set(reasons) == {"Anna", "Guest"}
    assert "another recogniser" in reasons["Anna"]
    assert "imported without a head" in reasons["Guest"]
    assert all(f"warning: {reason}. " in result.err for reason in reasons.values())
    assert "myvlm add-concept" in result.err
    for name, reason in reasons.items():
        named = myvlm("review", album, "--concepts", name)
        assert (named.code, named.out) == (2, "")
        assert reason in named.err
    lose_head(session, "Rex")
    result = myvlm("review", album)
    assert (result.code, result.out) == (0, "")
    assert result.err.count("warning: ") == 3
    assert result.err.endswith("Nothing to review: none of the concepts can be looked for.\n")


def test_what_cannot_be_read_is_told_and_the_rest_listed(myvlm, album):
    (album / "broken.jpg").write_bytes(b"no picture")
    result = myvlm("review", album, "--json")
    assert result.code == 1
    assert pairs(result) == ALL
    assert [Path(u["file"]).name for u in result.json["unreadable"]] == ["broken.jpg"]
    assert "warning: " in result.err
    assert "broken.jpg" in result.err


def test_a_confirmation_without_a_box_where_no_region_is(myvlm, album):
    assert myvlm("confirm", album / "nobody.jpg", "Anna").code == 0
    settle(album)
    assert pairs(myvlm("review", album, "--json")) == ALL


def test_limits(myvlm, album, tmp_path):
    result = myvlm("review", album, "--limit", "1", "--json")
    assert (len(result.json["maybes"]), result.json["more"]) == (1, 3)
    page = write(myvlm, album, tmp_path / "page.html", "--limit", "3")
    assert len(page.cards) == 3
    assert "1 more are not on this page" in page.text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["ALBUM", "--heads", "paper"], "give no suggestions"),
        (["ALBUM", "--apply", "-"], "looks at no photos"),
        (["--apply", "-", "--html", "x.html"], "looks at no photos"),
        (["--apply", "-", "--limit", "3"], "looks at no photos"),
        (["--apply", "absent.jsonl"], "absent.jsonl: No such file"),
        ([], "no photos given"),
        (["ALBUM", "--concepts", "nobody"], "no concept 'nobody'"),
        (["ALBUM", "--html", "absent/x.html"], "no folder"),
    ],
)
def test_what_contradicts_itself(myvlm, album, options, told):
    result = myvlm("review", *(album if o == "ALBUM" else o for o in options))
    assert result.code == 2
    assert told in result.err
    assert result.out == ""


def test_the_page_needs_nothing_else(myvlm, album, tmp_path):
    page = write(myvlm, album, tmp_path / "page.html")
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert [a["rel"] for a in page.of("link")] == ["icon"]
    assert page.of("link")[0]["href"].startswith("data:")
    assert not [a for a in page.of("script") if "src" in a]
    (policy,) = [a["content"] for a in page.of("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src 'none'" in policy
    assert len(page.shown) == 2 * 4
    for uri in (*page.shown, *page.data["pictures"].values()):
        head, _, data = uri.partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert max(picture.size) <= 480
            assert not picture.getexif()
    used = {a["data-picture"] for a in page.of("img") if "data-picture" in a and "src" not in a}
    used |= {number for card in page.cards for number in card["data-known"].split()}
    assert used == set(page.data["pictures"])
    assert len(used) <= 8  # four references each
    assert all("alt" in a for a in page.of("img"))
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600


def test_crops_are_upright_and_of_the_region(myvlm, album, tmp_path):
    page = write(myvlm, album, tmp_path / "page.html", "--concepts", "rex", "--include", "rex.jpg")
    crop, whole = (
        base64.b64decode(a["src"].partition(",")[2]) for a in [a for a in page.of("img") if a.get("src")][:2]
    )
    (x0, y0, x1, y1) = json.loads(page.data["lines"][0][0])["box"]
    with Image.open(io.BytesIO(whole)) as small:
        assert small.width > small.height  # 700 × 512, stored on its side
    with Image.open(io.BytesIO(crop)) as part:
        wide, high = min(700, 1.4 * (x1 - x0)), min(512, 1.4 * (y1 - y0))
        assert part.width / part.height == pytest.approx(wide / high, rel=0.35)


def test_same_photos_same_bytes_and_only_our_page_is_replaced(myvlm, album, tmp_path):
    page = tmp_path / "page.html"
    write(myvlm, album, page)
    first = page.read_bytes()
    write(myvlm, album, page)
    assert page.read_bytes() == first
    for foreign in (b"", b"<html>my own</html>", b"x" * 5000 + first):
        page.write_bytes(foreign)
        result = myvlm("review", album, "--html", page)
        assert (result.code, page.read_bytes()) == (2, foreign)
        assert "no page of myvlm review" in result.err
    assert myvlm("review", album, "--html", album).code == 2


def test_what_was_decided_on_the_page_is_applied(myvlm, album, tmp_path):
    page = write(myvlm, album, tmp_path / "page.html", "--concepts", "rex")
    photos = [Path(json.loads(lines[0])["photo"]).name for lines in page.data["lines"]]
    verdicts = {"rex.jpg": "confirm", "both.jpg": "", "nobody.jpg": "reject"}
    saved = page.save(tmp_path / "myvlm-decisions.jsonl", *(verdicts[p] for p in photos))
    result = myvlm("review", "--apply", saved, "--json")
    assert result.code == 0, result.err
    told = {Path(d["file"]).name: (d["verdict"], d["status"], d["notes"]) for d in result.json["decisions"]}
    assert told == {"rex.jpg": ("confirm", "decided", []), "nobody.jpg": ("reject", "decided", [])}
    settle(album)
    assert pairs(myvlm("review", album, "--json")) == {("both.jpg", "Rex"), ("both.jpg", "Anna")}
    captions = myvlm("caption", album, "--json")
    assert named(captions) == {"rex.jpg": ["Rex"], "both.jpg": [], "nobody.jpg": []}
    assert b"Rex" in (album / "rex.jpg.xmp").read_bytes()
    session = Session(SessionOptions("storybook"), Path(os.environ["MYVLM_HOME"]))
    references = session.store.get("Rex").references[0].path.parent
    assert myvlm("add-concept", "Rex", references).code == 0
    settle(album)
    assert pairs(myvlm("review", album, "--json")) == {("both.jpg", "Rex"), ("both.jpg", "Anna")}
    near = next(m for m in myvlm("review", album, "--json").json["maybes"] if m["concept"] == "Rex")
    assert Path(near["nearest_reference"]["file"]).parent in (references, album)


def test_apply_from_stdin_goes_on_after_bad_lines(myvlm, album, monkeypatch):
    good = {"photo": str(album / "rex.jpg"), "concept": "Rex", "verdict": "reject"}
    lines = [{k: v for k, v in good.items() if k != "verdict"}, good | {"concept": "Nobody"}, "no json", good]
    text = "\ufeff" + "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    result = myvlm("review", "--apply", "-")
    assert result.code == 1
    assert result.out == f"{album / 'rex.jpg'}: Rex rejected\n"
    assert "line 1: it has no verdict, which is confirm or reject" in result.err
    assert "line 3" in result.err
    assert "1 done, 3 failed" in result.err


def test_what_was_saved_does_not_stay_in_the_browser(myvlm, album, tmp_path):
    text = write(myvlm, album, tmp_path / "page.html").text
    assert 'id="data"' in text
    functions = dict(re.findall(r"^  function (\w+)\([^)]*\) \{(.*?)^  \}", text, re.DOTALL | re.MULTILINE))
    assert "localStorage.setItem(key" in functions["keep"]
    assert "localStorage.removeItem(key)" in functions["unkeep"]
    assert functions["finish"].index("link.click()") < functions["finish"].index("unkeep();")


EVIL = """R</script><img src=x onerror=alert(1)>"'&{{ 7*7 }}"""


def test_hostile_names_are_only_text(myvlm, album, tmp_path):
    assert myvlm("concepts", "rename", "Rex", EVIL).code == 0
    name = b"<script>alert(1)<!-- \"' \n \xe2\x80\xa8 \xff {{ 7*7 }}.jpg"
    (album / "rex.jpg").rename(album / os.fsdecode(name))
    settle(album)
    path = tmp_path / "page.html"
    result = myvlm("review", album, "--include", "*alert*", "--html", path)
    assert result.code == 0, result.err
    page = Page(path)
    assert len(page.of("script")) == 5
    assert not [a for a in page.of("img") if "onerror" in a or a.get("src") == "x"]
    assert f"Is this {EVIL}?" in "".join(page.words)
    assert EVIL in [s.get("data-concept") for s in page.of("section")]
    assert "{{ 7*7 }}.jpg" in "".join(page.words)
    assert "49" not in "".join(w for w in page.words if "alert" in w and "data:" not in w)
    result = myvlm("review", "--apply", page.save(tmp_path / "decisions.jsonl", "confirm"))
    assert result.code == 0, result.err
    (decision,) = Session(SessionOptions("storybook"), Path(os.environ["MYVLM_HOME"])).store.decisions.all()
    assert os.fsencode(decision.path) == os.fsencode(album) + b"/" + name
    assert decision.verdict is Verdict.CONFIRM
    line = myvlm("review", album, "--concepts", "Anna")
    assert line.code == 0


def test_photos_that_are_gone_are_tiles_that_say_so(myvlm, album, tmp_path):
    references = Session(SessionOptions("storybook"), Path(os.environ["MYVLM_HOME"])).store.get("Anna").references
    kept = {r.path: r.path.read_bytes() for r in references}
    try:
        for reference in references:
            reference.path.unlink()
        references[0].path.write_bytes((album / "rex.jpg").read_bytes())
        references[1].path.write_bytes(b"no picture")
        page = write(myvlm, album, tmp_path / "page.html", "--concepts", "anna")
    finally:
        for reference, data in kept.items():
            reference.write_bytes(data)
    notes = {"The photo is not there any more.", "The photo has changed since."}
    assert set(page.words) & notes
    assert not page.data["pictures"]
    assert not [b for b in page.of("button") if "data-show" in b]


def test_a_photo_that_is_gone_when_the_page_is_made(tmp_path):
    match = Match("id", "Rex", Kind.PET, 1, 1.0, 2.0, Box(1.2, 2.7, 30.0, 40.0), "detector")
    maybe = Suggestion(tmp_path / "gone.jpg", "0" * 64, match, 0.0)
    text = render_review([maybe], more=2)
    assert "The photo is not there any more." in text
    assert json.loads(decision_line(maybe, Verdict.REJECT)) == {
        "photo": str(tmp_path / "gone.jpg"),
        "concept": "Rex",
        "verdict": "reject",
        "box": [1, 3, 30, 40],
        "content": "0" * 64,
    }


def test_a_page_that_cannot_be_written(bare_home, tmp_path):
    with pytest.raises(EngineError, match="cannot be written"):
        write_page([], tmp_path / ("x" * 300 + ".html"))
    assert not list(tmp_path.glob("*"))


def test_decisions_of_the_file_are_for_the_content_that_was_shown(myvlm, album, tmp_path):
    page = write(myvlm, album, tmp_path / "page.html", "--include", "rex.jpg")
    saved = page.save(tmp_path / "decisions.jsonl", "confirm")
    (album / "rex.jpg").write_bytes((album / "nobody.jpg").read_bytes())
    result = myvlm("review", "--apply", saved)
    assert (result.code, "rex.jpg: the photo has changed since" in result.err) == (1, True)
    line = json.loads(saved.read_text())
    del line["content"]  # as files of earlier versions are
    saved.write_text(json.dumps(line))
    assert myvlm("review", "--apply", saved).code == 0
    saved.write_text(json.dumps({**line, "content": 3}))
    assert "content is the hash" in myvlm("review", "--apply", saved).err
