"""Train the storybook's models from nothing: `python -m engine.storybook.build`.

Every stage checkpoints as it goes; started again, the build goes on where it was. Needs the `build`
extra (scipy and onnx come with it).
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import engine.core.device  # noqa: F401

import torch

from engine.core.paths import STORYBOOK
from engine.storybook.build import stages
from engine.storybook.build.recipe import SHIPPED, TINY

log = logging.getLogger("storybook")


def main() -> None:
    """Run all stages that are not finished, then write the weights and their card."""
    parser = argparse.ArgumentParser(prog="python -m engine.storybook.build", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("storybook-build"), help="drawings, checkpoints (8 GB)")
    parser.add_argument("--out", type=Path, default=STORYBOOK, help="where the finished weights go")
    parser.add_argument("--tiny", action="store_true", help="only exercise the code, on next to no data")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    log.setLevel(logging.INFO)
    args.folder.mkdir(parents=True, exist_ok=True)
    bench = stages.Bench(args.folder, TINY if args.tiny else SHIPPED, args.out)
    times: dict[str, float] = _read_times(args.folder)
    for stage in stages.STAGES:
        _timed(stage, bench, times)
        (args.folder / "times.json").write_text(json.dumps(times))
    stages.write_card(bench, times)


def _timed(stage: Callable[[stages.Bench], None], bench: stages.Bench, times: dict[str, float]) -> None:
    began = time.monotonic()
    log.info("stage %s", stage.__name__)
    stage(bench)
    times[stage.__name__] = round(times.get(stage.__name__, 0.0) + time.monotonic() - began, 1)


def _read_times(folder: Path) -> dict[str, float]:
    path = folder / "times.json"
    return json.loads(path.read_text()) if path.is_file() else {}


if __name__ == "__main__":
    torch.set_num_threads(max(1, torch.get_num_threads()))
    main()
