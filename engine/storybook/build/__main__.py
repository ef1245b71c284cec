"""Train the storybook's models from nothing: `python -m engine.storybook.build`.

Every stage writes checkpoints; started again, the build continues from the last one. It needs the `build` extra
(scipy and onnx).
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

import engine.core.device  # noqa: F401

import torch

from engine.core.paths import STORYBOOK
from engine.storybook.build import stages
from engine.storybook.build.recipe import SHIPPED, TINY

log = logging.getLogger("storybook")


def main() -> None:
    """Run all stages that are not finished, then write the weights and their model card."""
    parser = argparse.ArgumentParser(prog="python -m engine.storybook.build", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("storybook-build"), help="drawings, checkpoints (8 GB)")
    parser.add_argument("--out", type=Path, default=STORYBOOK, help="where the finished weights go")
    parser.add_argument("--tiny", action="store_true", help="only exercise the code, on next to no data")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    log.setLevel(logging.INFO)
    args.folder.mkdir(parents=True, exist_ok=True)
    build = stages.Build(args.folder, TINY if args.tiny else SHIPPED, args.out)
    times: dict[str, float] = _read_times(args.folder)
    for name, stage in stages.STAGES.items():
        began = time.monotonic()
        log.info("stage %s", name)
        stage(build)
        times[name] = round(times.get(name, 0.0) + time.monotonic() - began, 1)
        (args.folder / "times.json").write_text(json.dumps(times))
    stages.write_card(build, times)


def _read_times(folder: Path) -> dict[str, float]:
    path = folder / "times.json"
    return json.loads(path.read_text()) if path.is_file() else {}


if __name__ == "__main__":
    torch.set_num_threads(max(1, torch.get_num_threads()))
    main()
