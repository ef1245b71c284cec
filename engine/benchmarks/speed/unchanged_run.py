"""Time a captioning run in which nothing changed, as a whole command, against walking and stat-ing the same files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.core.paths import HOME_VARIABLE
from engine.storybook.album import draw_album

PHOTOS = 2_000
_OLD = 1_700_000_000
"""Modification time of the photos: a photo that is being written is never taken for unchanged."""
_WALK = """
import os, sys
def walk(folder):
    for entry in os.scandir(folder):
        if entry.is_dir():
            walk(entry.path)
        else:
            entry.stat()
walk(sys.argv[1])
"""
_PEAK = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Caption copies of a drawn photo with names only, then run the same command again and again."""
    count = settings.photos or PHOTOS
    library = make_library(settings, count)
    command = caption_command(library)
    run_command(settings, command)

    def ours() -> None:
        run_command(settings, command)

    def baseline() -> None:
        run_command(settings, [sys.executable, "-c", _WALK, str(library)])

    seconds, walking = in_turn(ours, baseline, settings.rounds)
    peak_kb = json.loads(run_command(settings, [sys.executable, "-c", _PEAK, *command]))
    return [
        Measurement(
            "unchanged-run",
            f"myvlm caption over {count} unchanged photos, the whole command",
            "size, times and inode of photos and sidecars, against a table",
            "Python starts, walks with os.scandir and stats every file",
            seconds,
            walking,
            target=">= 0.33 (at most 3 times the baseline), at most 150 MB",
            predicted="0.15 to 0.25: the command line alone starts in several times the baseline",
            extra={"seconds": median(seconds), "baseline seconds": median(walking), "peak MB": peak_kb / 1024},
        )
    ]


def make_library(settings: SpeedSettings, count: int) -> Path:
    """Enrol a drawn dog in the data folder `home`, and make `count` photos in folders of 500, all with one content."""
    album = draw_album(settings.work / "drawn", settings.seed)
    run_command(settings, [*_MYVLM, "config", "set", "recogniser", "storybook"])
    run_command(settings, [*_MYVLM, "config", "set", "vlm", "none"])
    run_command(settings, [*_MYVLM, "add-concept", "rex", str(album.concept_folders["Rex"])])
    photo = album.photos[0].path
    for i in range(count):
        copy = settings.work / "library" / f"{i // 500:04}" / f"IMG_{i:06}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, copy)
        os.utime(copy, (_OLD, _OLD))
    return settings.work / "library"


_MYVLM = (sys.executable, "-m", "myvlm_cli.main")


def caption_command(library: Path) -> list[str]:
    """Return the command that is timed."""
    return [*_MYVLM, "caption", str(library)]


def run_command(settings: SpeedSettings, command: list[str]) -> str:
    """Run a command with the data folder of the measurement; return what it prints."""
    environment = os.environ | {HOME_VARIABLE: str(settings.work / "home")}
    root = Path(__file__).parents[3]  # where a checkout's packages are; installed ones are found anyway
    done = subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr
