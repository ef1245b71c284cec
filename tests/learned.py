"""A store in which the VLM was taught Rex and Anna, made once a test run, and commands that run in this process."""

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from engine.concepts.enrol import enrol
from engine.session import Session, SessionOptions
from engine.storybook.album import ANNA, REX
from engine.storybook.photos import DrawnPhoto, save_photo
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.scenes import compose
from engine.training.train import train_concept
from tests.conftest import choose_storybook

STEPS = None  # as many as the VLM takes


def train(session, name, **options):
    """Train a concept to the end; the stored embedding."""
    return list(train_concept(session, session.store.get(name), **options))[-1]


def draw_references(folder, who, seed):
    rng = np.random.default_rng(seed)
    for k, place in enumerate(("beach", "forest", "city", "garden")):
        cast = (who,) if k < 2 else (who, draw_individual(rng, "elephant"))
        save_photo(compose(rng, cast, place=place, equal=None if k < 2 else False), folder / f"{k}.jpg")


def draw_album(folder) -> dict[str, DrawnPhoto]:
    """Rex alone in a wide photo, Rex with Anna, nobody."""
    rng = np.random.default_rng(31)
    stranger = draw_individual(rng, "teapot")
    plan = (("rex", (REX,), 6, 700), ("both", (REX, ANNA), 1, 512), ("nobody", (stranger,), 8, 512))
    return {
        name: save_photo(compose(rng, cast, place="snow"), folder / f"{name}.jpg", orientation=turned, width=width)
        for name, cast, turned, width in plan
    }


def learned(base: Path) -> Path:
    """A folder with `home`: Rex learned for captions and questions, Anna for captions; their photos beside it.

    The first process that asks makes it, and the others wait.
    """
    folder = base / "rex-and-anna"
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / "rex-and-anna.lock"):
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _teach(folder)
            (folder / "whole").touch()
    return folder


def _teach(folder: Path) -> None:
    choose_storybook(folder / "home")
    session = Session(SessionOptions(), folder / "home")
    for name, who in (("Rex", REX), ("Anna", ANNA)):
        draw_references(folder / name, who, len(name))
        enrol(session, name, [folder / name])
        train(session, name, steps=STEPS)
    train(session, "Rex", steps=STEPS, task="vqa")
    session.store.close()


def use_copy(learned_folder: Path, tmp_path: Path, monkeypatch) -> Session:
    """A session on a copy of the learned store, which is MYVLM_HOME from now on."""
    home = tmp_path / "learned-home"
    shutil.copytree(learned_folder / "home", home)
    monkeypatch.setenv("MYVLM_HOME", str(home))
    return Session(SessionOptions("storybook"), home)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def commands(capsys, monkeypatch) -> Iterator:
    """A function that runs a command in this process: for a fixture to `yield from`."""
    from myvlm_cli.main import main

    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["myvlm", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        found = capsys.readouterr()
        return Result(code, found.out, found.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
