"""What all commands share: refusals, JSON errors, -q and -v, suggestions, help, streams that cannot be written."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from engine.core.paths import home as data_folder
from myvlm_cli import completion
from myvlm_cli.main import app
from myvlm_cli.output import escaped, out
from myvlm_cli.streams import BROKEN_PIPE, GuardedStream


def commands(command=None, path=()):
    """Every command and group with its path: ("concepts", "show")."""
    command = command or get_command(app)
    yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands())
LEAVES = {path: c for path, c in COMMANDS.items() if path and not getattr(c, "commands", {})}


def values():
    """Every argument and option that takes a value, with a command line that leaves it empty."""
    for path, command in COMMANDS.items():
        before = []
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                yield pytest.param([*path, *before, ""], id=" ".join([*path, parameter.name]))
                before.append("x")
            elif not parameter.is_flag:
                yield pytest.param(
                    [*path, parameter.opts[0], *[""] * parameter.nargs], id=" ".join([*path, parameter.opts[0]])
                )


@pytest.mark.parametrize("line", list(values()))
def test_no_value_may_be_empty(myvlm, bare_home, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    result = myvlm(*line)
    assert (result.code, result.out) == (2, "")
    assert "is empty" in result.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg"]


@pytest.mark.parametrize("line", [("caption", "  "), ("caption", "a.jpg", ""), ("caption", "a.jpg", "--sidecar-dir=")])
def test_blank_and_further_values_are_refused_too(myvlm, line):
    assert (myvlm(*line).code, "is empty" in myvlm(*line).err) == (2, True)


def test_help_is_given_before_anything_is_refused(myvlm):
    assert myvlm("caption", "", "--help").code == 0


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_takes_q_and_v_behind_it(path):
    options = {o for p in COMMANDS[path].params for o in p.opts}
    assert {"-q", "--quiet", "-v", "--verbose"} <= options


def test_v_and_q_behind_a_command_count_before_those_in_front_of_it(myvlm, drawn):
    folder = drawn.path.parent
    assert "regions" in myvlm("scan", folder, "-v").err
    assert "indexed already" in myvlm("-q", "scan", folder, "-v").err
    assert myvlm("scan", folder, "-q").err == ""
    assert myvlm("-v", "scan", folder, "--quiet").err == ""
    assert myvlm("scan", folder, "-q", "-v").code == 2
    assert "indexed already" in myvlm("scan", folder).err


ERRORS = [
    (("caption", "--nonsense"), 2, "UsageError", "nonsense"),
    (("caption", "/no/such/photo.jpg"), 2, "UsageError", "no such file"),
    (("caption", ""), 2, "UsageError", "empty"),
    (("captain",), 2, "UsageError", "no command"),
    (("caption", "--limit", "many", "."), 2, "UsageError", "--limit"),
    (("concepts", "show", "ghost"), 2, "ConceptError", "ghost"),
    (("concepts", "show"), 2, "UsageError", "Missing"),
]


@pytest.mark.parametrize(("line", "code", "kind", "words"), ERRORS)
def test_errors_are_json_where_that_was_asked_for(myvlm, line, code, kind, words):
    result = myvlm(*line, "--json")
    error = result.json["error"]
    assert (result.code, error["code"], error["type"]) == (code, code, kind)
    assert words in error["message"]
    assert error["message"] in result.err
    one_line = myvlm(*line, "--jsonl")
    assert one_line.code == code
    assert one_line.out.count("\n") == 1
    assert myvlm(*line).out == ""


def test_missing_weights_are_json_too(myvlm, drawn, empty_hub):
    result = myvlm("caption", drawn.path, "--vlm", "llava-1.6", "--no-concepts", "--json")
    assert (result.code, result.json["error"]["code"]) == (3, 3)
    assert "myvlm models pull llava-1.6" in result.json["error"]["hint"]


BOTH = [path for path, c in LEAVES.items() if {"json", "jsonl"} <= {p.name for p in c.params}]


@pytest.mark.parametrize("path", BOTH, ids=" ".join)
def test_json_and_jsonl_exclude_each_other(myvlm, path, tmp_path):
    needed = ["x" for p in COMMANDS[path].params if p.param_type_name == "argument"]
    result = myvlm(*path, *needed, "--json", "--jsonl")
    assert result.code == 2
    assert "exclude each other" in result.json["error"]["message"]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (("concepts", "rm"), "myvlm concepts forget"),
        (("rm",), "myvlm forget"),
        (("captoin",), "myvlm caption"),
        (("concept",), "myvlm concepts"),
        (("pull",), "myvlm models pull"),
        (("ls",), "myvlm concepts list"),
        (("caption", "--recogniser", "x", "--recognizer"), "--recogniser"),
        (("caption", "--sidecar"), "--sidecar-naming"),
        (("concepts", "show", "--jsno"), "--json"),
        (("zzzz",), "myvlm --help"),
    ],
)
def test_near_misses_get_a_suggestion(myvlm, line, meant):
    result = myvlm(*line)
    assert result.code == 2
    assert meant in result.err


def test_near_misses_of_concept_names_get_a_suggestion(myvlm, session):
    assert "Did you mean Anna?" in myvlm("concepts", "show", "ana").err
    assert "Did you mean" not in myvlm("concepts", "show", "zzzz").err


def test_lists_of_concepts_are_completed_behind_the_comma(session):
    assert completion.complete_concept("re") == ["rex"]
    assert completion.complete_concepts("") == ["Anna", "Rex"]
    assert completion.complete_concepts("rex,an") == ["rex,anna"]
    assert completion.complete_concepts("rex,") == ["rex,Anna"]
    assert completion.complete_concepts("nobody,x") == []


@pytest.mark.parametrize("path", COMMANDS, ids=lambda p: " ".join(p) or "myvlm")
def test_help_fits_80_columns_and_nothing_is_cut(myvlm, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    text = myvlm(*path, "--help").out
    assert text
    assert [line for line in text.splitlines() if len(line) > 80] == []
    for command in getattr(COMMANDS[path], "commands", {}).values():
        assert command.get_short_help_str(1000) in " ".join(text.split())


def test_the_main_help_groups_its_commands_with_short_summaries(myvlm):
    main = get_command(app)
    for name, command in main.commands.items():
        assert len(command.get_short_help_str(1000)) < 45, name
        assert command.rich_help_panel, name
    text = myvlm("--help").out
    assert "Commands:" not in text.replace("COMMAND", "")
    assert "caption      Caption photos" in text


def test_nothing_heavy_loads_before_a_refusal(session, tmp_path):
    """In one process, because each start of Python takes time."""
    lines = [
        ["caption"],
        ["caption", ""],
        ["caption", "/no/such"],
        ["caption", ".", "--concepts", "ghost"],
        ["caption", ".", "--concepts", "rex", "--no-concepts"],
        ["caption", ".", "--vlm", "nonsense"],
        ["caption", ".", "--recogniser", "nonsense"],
        ["caption", ".", "--dtype", "nonsense"],
        ["scan", "/no/such"],
        ["calibrate", "/no/such"],
        ["review", "/no/such"],
        ["review", ".", "--concepts", "ghost"],
        ["status", "/no/such"],
        ["ask", "/no/such.jpg", "Who?"],
        ["ask", ".", "Who?", "--concepts", "ghost"],
        ["locate", "ghost", "."],
        ["add-concept", "x", "/no/such"],
        ["add-concept", "x" * 300, "."],
        ["train", "ghost"],
        ["forget", "ghost"],
        ["concepts", "show", "ghost"],
        ["undo", "--json", "--jsonl"],
    ]
    code = f"""
import sys
from myvlm_cli.main import main
for line in {lines!r}:
    sys.argv = ["myvlm", *line]
    try:
        main()
    except SystemExit as stop:
        assert stop.code == 2, (line, stop.code)
    heavy = {{"torch", "transformers", "open_clip", "onnxruntime", "insightface"}} & set(sys.modules)
    assert not heavy, (line, heavy)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


TAKE_PHOTOS = {
    "caption": ["caption", "PHOTOS", "--no-concepts"],
    "scan": ["scan", "PHOTOS"],
    "calibrate": ["calibrate", "PHOTOS"],
    "ask": ["ask", "PHOTOS", "Where is Rex?"],
    "locate": ["locate", "rex", "PHOTOS"],
    "review": ["review", "PHOTOS"],
    "status": ["status", "PHOTOS"],
    "add-concept": ["add-concept", "Max", "PHOTOS", "--category", "dog"],
    "from-regions": ["add-concept", "Max", "PHOTOS", "--from-regions", "--dry-run"],
    "forget": ["forget", "rex", "PHOTOS", "--scrub-sidecars", "--yes"],
}


def line_for(command, *photos):
    return [part for word in TAKE_PHOTOS[command] for part in (photos if word == "PHOTOS" else [word])]


@pytest.mark.parametrize("command", TAKE_PHOTOS)
def test_none_of_the_paths_exists(myvlm, session, command, tmp_path):
    result = myvlm(*line_for(command, tmp_path / "gone.jpg", tmp_path / "lost"))
    assert (result.code, result.out) == (2, "")
    assert "gone.jpg" in result.err
    assert "lost" in result.err
    assert [c.name for c in session.store.all()] == ["Anna", "Rex"]


@pytest.mark.parametrize("command", [c for c in TAKE_PHOTOS if c not in ("calibrate", "from-regions")])
def test_some_of_the_paths_are_missing(myvlm, session, command, drawn, tmp_path):
    result = myvlm(*line_for(command, drawn.path, tmp_path / "gone.jpg"))
    assert result.code == 1, result.err
    assert "gone.jpg" in result.out + result.err


@pytest.mark.parametrize("pattern", [("--include", "*.jpg"), ("--exclude", "go*"), ("--since", "1990-01-01")])
def test_patterns_hide_no_missing_path(myvlm, session, drawn, tmp_path, pattern):
    result = myvlm("status", drawn.path, tmp_path / "gone", *pattern)
    assert result.code == 1
    assert "gone" in result.out + result.err


@pytest.mark.parametrize("command", [c for c in TAKE_PHOTOS if c != "forget"])
def test_a_folder_without_photos_is_no_error_but_is_told(myvlm, session, command, tmp_path):
    (tmp_path / "empty").mkdir()
    result = myvlm(*line_for(command, tmp_path / "empty"))
    assert result.code == 0, result.err
    assert "No photos found" in result.err or "Nothing to review" in result.err


READ = {
    "concepts": ["concepts"],
    "concepts list": ["concepts", "list", "--json"],
    "concepts show": ["concepts", "show", "rex"],
    "concepts rename": ["concepts", "rename", "rex", "max"],
    "concepts merge": ["concepts", "merge", "rex", "max", "--yes"],
    "concepts clear-cache": ["concepts", "clear-cache"],
    "forget": ["forget", "rex", "--yes"],
    "status": ["status", "PHOTO"],
    "review": ["review", "PHOTO"],
    "calibrate": ["calibrate", "PHOTO"],
    "confirm": ["confirm", "PHOTO", "rex"],
    "reject": ["reject", "PHOTO", "rex"],
    "train": ["train", "rex"],
    "ask": ["ask", "PHOTO", "What is in the image?"],
    "locate": ["locate", "rex", "PHOTO"],
    "caption": ["caption", "PHOTO", "--dry-run"],
    "runs": ["runs"],
    "undo": ["undo"],
    "models": ["models"],
    "doctor": ["doctor"],
}


@pytest.mark.parametrize("command", READ)
def test_what_only_reads_creates_no_data_folder(myvlm, bare_home, drawn, command):
    myvlm(*(drawn.path if word == "PHOTO" else word for word in READ[command]))
    assert not data_folder().exists()


def test_completion_creates_no_data_folder(bare_home):
    assert (completion.complete_concepts("rex,a"), completion.complete_run("2")) == ([], [])
    assert not data_folder().exists()


@pytest.mark.parametrize("line", [("forget", "rex"), ("concepts", "merge", "rex", "anna")])
def test_a_question_without_a_terminal_names_yes(myvlm, session, monkeypatch, line):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    result = myvlm(*line, "--json")
    assert result.code == 2
    assert "--yes" in result.json["error"]["hint"]
    assert [c.name for c in session.store.all()] == ["Anna", "Rex"]


LISTS = {
    "mark": b"\xef\xbb\xbfA\nB\n",
    "windows": b"\xef\xbb\xbfA\r\n\r\n  \r\nB\r\n",
    "powershell": "A\r\nB\r\n".encode("utf-16"),
    "no line end": b"\n\nA\nB",
}


@pytest.mark.parametrize("form", LISTS)
def test_lists_of_files_from_other_systems(tmp_path, monkeypatch, form):
    from engine.photos.path_list import read_list

    (tmp_path / "list").write_bytes(LISTS[form])
    assert read_list(tmp_path / "list", null=False) == [Path("A"), Path("B")]
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfA\0\0B\0")
    assert read_list(tmp_path / "list", null=True) == [Path("\ufeffA"), Path("B")]


HOSTILE = "esc\x1b]0;pwned\x07\x1b[31mred\nnew\u202eline\x9b.jpg"


def test_control_characters_of_a_file_name_are_escaped(myvlm, tmp_path):
    (tmp_path / HOSTILE).write_bytes(b"no picture")
    expected = r"esc\x1b]0;pwned\x07\x1b[31mred\nnew\u202eline\x9b.jpg"
    for line in (("status", tmp_path), ("scan", tmp_path, "-v"), ("caption", tmp_path), ("caption", tmp_path, "-q")):
        result = myvlm(*line, "--vlm", "storybook")
        seen = result.out + result.err
        assert set(seen) & set("\x1b\x07\x9b\u202e") == set()
        assert expected in seen or line[-1] == "-q"
    result = myvlm("status", tmp_path, "--jsonl", "--vlm", "storybook")
    assert set(result.out) & set("\x1b\x07\x9b\u202e") == set()
    assert Path(result.lines[0]["file"]).name == HOSTILE
    missing = myvlm("caption", tmp_path / f"gone{HOSTILE}", "--json")
    assert "\x1b" not in missing.out + missing.err
    assert HOSTILE in missing.json["error"]["message"]


def test_control_characters_in_tables_and_rows_are_escaped(capsys):
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "caption")
    table.add_row("a\x1b[31m.jpg", Text("b\x07.jpg", "bold"))
    out.table(table)
    out.row(["a\tb", "c\x1b"])
    out.warn("a\x1bb")
    out.say("\nc")
    out.block("d\n\x1be\n")
    found = capsys.readouterr()
    assert "\x1b" not in found.out + found.err
    assert "\\x1b[31m.jpg" in found.out
    assert "a\\tb\tc\\x1b\n" in found.out
    assert found.out.endswith("\nd\n\\x1be\n\n")
    assert found.err == "warning: a\\x1bb\n\\nc\n"
    assert escaped("Käse – 東京 🐕") == "Käse – 東京 🐕"


class Failing(io.StringIO):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def flush(self):
        raise OSError(self.number, os.strerror(self.number))


def fail_with(number):
    lost = []

    def fail(err):
        if err.errno == errno.EPIPE:
            raise SystemExit(BROKEN_PIPE)
        lost.append(err.strerror)

    return GuardedStream(Failing(number) if number else None, fail), lost


def test_a_guarded_stream_never_raises_an_os_error():
    stream, lost = fail_with(errno.ENOSPC)
    stream.write("a")
    stream.flush()
    assert lost == ["No space left on device"]
    stream, lost = fail_with(None)
    stream.flush()
    assert lost == []
    stream.write("a")
    assert lost == ["it is closed"]
    stream, _ = fail_with(errno.EPIPE)
    with pytest.raises(SystemExit) as stop:
        stream.flush()
    assert stop.value.code == 141


STREAMS = {
    "myvlm models >&-": (3, "it is closed"),
    "myvlm models >/dev/full": (3, "No space left"),
    "myvlm models | true": (141, ""),
    "myvlm --help | true": (141, ""),
    "myvlm models 2>&- >/dev/null": (0, ""),
    "myvlm models --nonsense 2>/dev/full": (2, ""),
    "myvlm models >&- 2>&- <&-": (3, ""),
    "myvlm caption --files-from - <&-": (0, "No photos found"),
}


def shell(script, **options):
    """Run a line of bash in which `myvlm` is the command line of this tree; its exit code is that of the first part."""
    command = f"myvlm() {{ '{sys.executable}' -W ignore -m myvlm_cli.main \"$@\"; }}; {script}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, **options)


@pytest.mark.parametrize("line", STREAMS)
def test_closed_full_and_broken_streams(line):
    code, words = STREAMS[line]
    result = shell(line)
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert words in result.stderr


def test_a_broken_pipe_loses_no_sidecar(session, drawn, tmp_path):
    album = tmp_path / "album"
    for k in range(3):
        album.mkdir(exist_ok=True)
        shutil.copy(drawn.path, album / f"{k}.jpg")
    result = shell(f"myvlm caption '{album}' --jsonl --vlm storybook | true")
    assert (result.returncode, "Traceback" in result.stderr) == (141, False), result.stderr
    assert len(list(album.glob("*.xmp"))) == len([json.loads(p.read_text()) for p in album.glob("*.json")]) == 3
    assert [p.name for p in album.iterdir() if "tmp" in p.name] == []
    from engine.sidecars.journal import Journal

    assert [bool(r.finished) for r in Journal(session.folder).runs()] == [True]
