"""`myvlm people`: what it lists and does, and that its numbers never mean somebody else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unnamed.conftest import scanned, strangers  # noqa: F401  fixtures

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(strangers) -> Path:  # noqa: F811
    return strangers.folder


def listed(result) -> list[tuple[int, int]]:
    return [(g["number"], g["photos"]) for g in result.json["groups"]]


def concepts(myvlm) -> dict[str, int]:
    return {c["name"]: len(c["references"]) for c in myvlm("concepts", "--json").json["concepts"]}


def test_groups_are_listed_with_what_to_do_next(myvlm, folder):
    result = myvlm("people", folder)
    assert result.code == 0, result.err
    header, first, second = (line.split("\t") for line in result.out.splitlines())
    assert header == ["number", "photos", "first", "last", "kind", "maybe", "sample", "id"]
    assert first[:4] == ["1", "6", "2021-05-01", "2021-11-17"]
    assert second[:2] == ["2", "4"]
    assert Path(first[6]).parent == folder
    assert result.err.splitlines()[-3:] == [
        "2 faces seen once (--min-photos 1)",
        "Look at a group before you name it: myvlm people --open, or myvlm people --show 1",
        "Next: myvlm people --name 1 NAME, or myvlm people --ignore 1",
    ]
    assert not list(folder.glob("*.xmp"))


def test_json_and_limits(myvlm, folder):
    document = myvlm("people", folder, "--json").json
    assert (document["photos"], document["more"], document["groups_in_all"]) == (16, 0, 4)
    group = document["groups"][0]
    assert len(group["members"]) == 6
    assert set(group["views"][0]) == {"file", "box", "quality", "taken"}
    assert listed(myvlm("people", folder, "--json", "--limit", 1)) == [(1, 6)]
    assert "1 more group (--limit)" in myvlm("people", folder, "--limit", 1).err
    assert listed(myvlm("people", folder, "--json", "--min-photos", 1)) == [(1, 6), (2, 4), (3, 1), (4, 1)]
    lines = myvlm("people", folder, "--jsonl").lines
    assert [line["id"] for line in lines] == [g["id"] for g in document["groups"]]
    assert [g["category"] for g in myvlm("people", "--pets", folder, "--json").json["groups"]] == ["pet"]


def test_the_photos_of_a_group_are_printed(myvlm, folder):
    group = myvlm("people", folder, "--json").json["groups"][1]
    files = [m["file"] for m in group["members"]]
    assert myvlm("people", "--show", 2).out.splitlines() == files
    assert myvlm("people", folder, "--show", group["id"]).out.splitlines() == files
    assert [line["file"] for line in myvlm("people", "--show", 2, "--jsonl").lines] == files
    assert myvlm("people", "--show", 2, "--json").json["id"] == group["id"]
    command = [sys.executable, "-m", "myvlm_cli.main", "people", "--show", "2", "-0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert result.stdout == b"".join(os.fsencode(f) + b"\0" for f in files)


def test_a_group_is_named_and_the_name_is_written_by_caption(myvlm, folder, no_vlm):
    myvlm("people", folder)
    result = myvlm("people", "--name", 1, "Anna")
    assert result.code == 0, result.err
    assert result.err.splitlines()[-1] == f"Next: myvlm caption {folder}"
    assert "Anna: person, category person, " in result.out
    again = myvlm("people", folder, "--json")
    assert 6 not in [photos for _, photos in listed(again)]
    captioned = myvlm("caption", folder, "--json").json["photos"]
    named = {Path(p["file"]).name for p in captioned if "Anna" in [c["name"] for c in p["concepts"]]}
    assert {f"IMG_0{k}.jpg" for k in range(6)} >= named
    assert len(named) >= 5


def test_the_first_name_creates_the_store(myvlm, folder):
    for path in Path(os.environ["MYVLM_HOME"]).glob("store.db*"):
        path.unlink()
    myvlm("people", folder)
    assert not (Path(os.environ["MYVLM_HOME"]) / "store.db").exists()
    assert myvlm("people", "--name", 1, "Anna").code == 0
    assert concepts(myvlm).keys() == {"Anna"}


def test_numbers_are_those_of_the_last_list(myvlm, folder):
    myvlm("people", folder)
    myvlm("people", "--name", 1, "Anna")
    result = myvlm("people", "--name", 2, "Ben", "--json")  # although the list would begin with him by now
    assert {Path(r["file"]).name for r in result.json["references"]} <= {f"IMG_0{k}.jpg" for k in range(5, 9)}
    assert result.json["next"] == f"myvlm caption {folder}"
    assert concepts(myvlm).keys() == {"Anna", "Ben"}


def test_a_number_that_may_mean_somebody_else_is_refused(myvlm, folder):
    unknown = myvlm("people", folder, "--name", 1, "Anna")
    assert (unknown.code, concepts(myvlm)) == (2, {})
    assert f"Run: myvlm people {folder}" in unknown.err
    myvlm("people", folder)
    for k in range(4):
        (folder / f"IMG_0{k}.jpg").unlink()
    changed = myvlm("people", folder, "--name", 1, "Anna")
    assert (changed.code, concepts(myvlm)) == (2, {})
    assert "changed since the last list" in changed.err
    missing = myvlm("people", "--name", 1, "Anna")  # what is left of the group that was listed
    assert missing.code == 0
    assert "- " in missing.out
    assert myvlm("people", "--show", 9).code == 2


def test_a_group_is_ignored_listed_and_shown_again(myvlm, folder):
    myvlm("people", folder)
    result = myvlm("people", "--ignore", 1, "--ignore", 2)
    assert result.out.splitlines() == ["1: ignored (6 photos)", "2: ignored (4 photos)"]
    empty = myvlm("people", folder)
    assert empty.out == ""
    assert "No people without a name are in several photos" in empty.err
    assert "10 faces ignored (myvlm people --ignored)" in myvlm("people", folder, "-v").err
    assert [g["photos"] for g in myvlm("people", "--ignored", "--json").json["ignored"]] == [6, 4]
    assert myvlm("people", "--unignore", 3).code == 2
    assert len(myvlm("people", "--unignore", 1).out.splitlines()) == 2
    assert listed(myvlm("people", folder, "--json")) == [(1, 6)]
    myvlm("people", "--undo")
    assert listed(myvlm("people", folder, "--json")) == [(1, 6), (2, 4)]


def test_undo_takes_back_what_was_named(myvlm, folder):
    myvlm("people", folder)
    myvlm("people", "--name", 1, "Anna")
    before = concepts(myvlm)
    refused = myvlm("people", "--name", 2, "anna")
    assert (refused.code, concepts(myvlm)) == (2, before)
    assert "does not look like the photos that Anna had before" in refused.err
    warned = myvlm("people", "--name", 2, "anna", "--anyway")
    assert "Look: myvlm people --show 2. If it is somebody else, run: myvlm people --undo" in warned.err
    undone = myvlm("people", "--undo").err
    assert undone.index("The last step: a group of faces was named Anna") < undone.index("removed from Anna")
    assert concepts(myvlm).keys() == {"Anna"}
    assert "Anna is forgotten" in myvlm("people", "--undo").err
    assert concepts(myvlm) == {}
    assert "Nothing to undo" in myvlm("people", "--undo").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--show", 1, "--ignore", 1),
        ("--open", "--undo"),
        ("--open", "--json"),
        ("--undo", "PATH"),
        ("--ignored", "PATH"),
        ("--show", 1, "-0", "--json"),
        ("--name", 1, "a\nb"),
        ("--ignore", 1, "--anyway"),
    ],
)
def test_what_makes_no_sense_is_refused(myvlm, folder, arguments):
    myvlm("people", folder)
    assert myvlm("people", *(folder if a == "PATH" else a for a in arguments)).code == 2


def test_what_holds_is_not_done_again(myvlm, folder):
    myvlm("people", folder)
    myvlm("people", "--name", 1, "Anna")
    for again in (("--name", 1, "Bello"), ("--name", 1, "Anna"), ("--ignore", 2, "--ignore", 1)):
        refused = myvlm("people", *again)
        assert refused.code == 2
        assert "group 1 was named Anna" in refused.err
        assert "To change it: myvlm people --undo" in refused.err
    assert concepts(myvlm).keys() == {"Anna"}
    assert myvlm("people", "--ignored", "--json").json["ignored"] == []


def test_only_numbers_that_were_shown_mean_a_group(myvlm, folder):
    groups = myvlm("people", folder, "--min-photos", 1, "--json").json["groups"]
    myvlm("people", folder, "--limit", 1)
    refused = myvlm("people", "--name", 2, "Ben")
    assert (refused.code, concepts(myvlm)) == (2, {})
    assert "had the numbers 1 to 1" in refused.err
    assert len(myvlm("people", "--show", groups[1]["id"]).out.splitlines()) == 4
    myvlm("people", folder, "--min-photos", 9)
    assert "The last list was empty" in myvlm("people", "--name", 1, "Ben").err


def test_numbers_are_of_the_kind_that_was_listed_last(myvlm, folder):
    myvlm("people", folder)
    animals = myvlm("people", "--pets", folder)
    assert "Next: myvlm people --pets --name 1 NAME, or myvlm people --pets --ignore 1" in animals.err
    assert len(myvlm("people", "--show", 1).out.splitlines()) == 5
    assert "myvlm people --pets --ignored" in myvlm("people", "--ignore", 1).err
    assert "Next: myvlm people --pets" in myvlm("people", "--undo").err
    myvlm("people", "--name", 1, "Rex")
    assert myvlm("concepts", "--json").json["concepts"][0]["kind"] == "pet"
    myvlm("people", folder)
    assert len(myvlm("people", "--show", 1).out.splitlines()) == 6
    assert len(myvlm("people", "--pets", "--show", 1).out.splitlines()) == 5


def test_ignored_faces_and_animals_have_numbers_of_their_own(myvlm, folder):
    myvlm("people", folder)
    myvlm("people", "--ignore", 1)
    myvlm("people", "--pets", folder)
    myvlm("people", "--ignore", 1)

    def ignored(*options):
        rows = myvlm("people", "--ignored", *options, "--json").json["ignored"]
        return [(row["number"], row["kind"]) for row in rows]

    assert ignored() == [(1, "person"), (2, "pet")]
    assert ignored("--pets") == [(2, "pet")]
    assert "Next: myvlm people --pets PATHS" in myvlm("people", "--unignore", 2).err
    assert ignored() == [(1, "person")]
    assert "1 group no longer ignored. Next: myvlm people PATHS" in myvlm("people", "--unignore", "all").err
    assert ignored() == []


def test_without_paths_the_last_ones_are_listed(myvlm, folder):
    assert myvlm("people").code == 2
    myvlm("people", folder)
    assert listed(myvlm("people", "--json")) == [(1, 6), (2, 4)]
    assert myvlm("people", folder / "missing").code == 2


def test_photos_that_cannot_be_read_are_named(myvlm, folder):
    (folder / "broken.jpg").write_bytes(b"no photo")
    result = myvlm("people", folder, folder / "missing.jpg")
    assert result.code == 1
    assert "broken.jpg" in result.err
    assert "missing.jpg: no such file" in result.err


def test_the_cache_is_cleared(myvlm, folder):
    myvlm("people", folder)
    assert (Path(os.environ["MYVLM_HOME"]) / "cache" / "groups.db").exists()
    myvlm("concepts", "clear-cache")
    assert not (Path(os.environ["MYVLM_HOME"]) / "cache" / "groups.db").exists()
    assert myvlm("people", "--show", 1).code == 2


def test_the_summary_names_them_once_they_are_known(myvlm, folder):
    assert myvlm("summary", folder, "--json").json["unnamed_groups"] is None
    myvlm("people", folder)
    assert myvlm("summary", folder, "--json").json["unnamed_groups"] == 2
    assert "2 people without a name in several photos: myvlm people" in myvlm("summary", folder).err
    myvlm("people", "--name", 1, "Anna")
    assert "1 person without a name in several photos" in myvlm("summary", folder).err
    myvlm("people", "--undo")
    assert myvlm("summary", folder, "--json").json["unnamed_groups"] == 2
    assert myvlm("summary", folder, "--json").json["unnamed_pets"] is None


def test_a_known_list_loads_no_model(myvlm, folder):
    expected = myvlm("people", folder, "--json").json
    code = (
        "import sys; from myvlm_cli.main import main\n"
        f"sys.argv = ['myvlm', 'people', {str(folder)!r}, '--json']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'open_clip', 'insightface', 'onnxruntime', 'lxml', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert json.loads(result.stdout) == expected
    assert result.stderr.splitlines()[-1] == "[]"
