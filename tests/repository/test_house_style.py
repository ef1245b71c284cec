"""The rules of the house, checked by tools: layers, lint, lazy imports, generated files, sizes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "transformers",
    "open_clip",
    "insightface",
    "onnxruntime",
    "numpy",
    "PIL",
    "sqlite_utils",
    "lxml",
    "rich.table",
)
CODE = sorted(p for top in ("engine", "myvlm_cli") for p in (ROOT / top).rglob("*.py"))


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)


def tool(name):
    return str(Path(sys.executable).with_name(name))


def test_imports_point_down():
    result = run(tool("lint-imports"))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("command", [("check", "."), ("format", "--check", ".")])
def test_ruff(command):
    result = run(tool("ruff"), *command, "--no-cache")
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_types(tmp_path):
    result = run(sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("module", ["myvlm_cli.main", "engine", "engine.session", "engine.vlms.registry"])
def test_light_modules_load_nothing_heavy(module):
    heavy = HEAVY if module.startswith("myvlm_cli") or module == "engine" else HEAVY[:5]
    code = f"import sys, {module}; print(sorted(set({heavy!r}) & set(sys.modules)))"
    result = run(sys.executable, "-c", code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_generated_files_are_fresh():
    from myvlm_cli.generate import render_all

    for path, text in render_all().items():
        assert path.read_text("utf-8") == text, f"{path.name} is stale: run python -m myvlm_cli.generate"


@pytest.mark.parametrize("path", CODE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_small(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_the_engine_never_prints_or_exits():
    for path in CODE:
        if "engine" not in path.relative_to(ROOT).parts[0]:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "input", "exit"), f"{path}:{node.lineno}"


def test_every_command_has_help_with_an_example():
    from typer.main import get_command

    from myvlm_cli.main import app

    def check(command, name):
        subcommands = getattr(command, "commands", {})
        for sub, inner in subcommands.items():
            check(inner, f"{name} {sub}")
        if name != "myvlm":
            assert "Example: myvlm" in (command.help or ""), name

    check(get_command(app), "myvlm")


def test_the_command_line_has_no_any():
    for path in sorted((ROOT / "myvlm_cli").glob("*.py")):
        names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
        assert "Any" not in names, path.name


@pytest.mark.parametrize(
    "package", sorted((ROOT / "engine").rglob("__init__.py")), ids=lambda p: p.parent.relative_to(ROOT).as_posix()
)
def test_every_room_says_what_it_is_for_and_what_it_imports(package):
    text = ast.get_docstring(ast.parse(package.read_text("utf-8")))
    assert text is not None
    if package.parent.name != "engine":
        assert len(text.split("\n\n")) == 2, text
        assert "import" in text.split("\n\n")[1].lower()
