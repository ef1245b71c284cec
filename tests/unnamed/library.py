"""A drawn library in which nobody has a name: two people and a cat who recur, and people who are there once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from engine.storybook.album import ANNA, REX
from engine.storybook.photos import DrawnPhoto, save_photo
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.scenes import compose
from engine.unnamed.group_log import GroupActions, GroupLog
from engine.unnamed.name import ignore_group, name_group
from engine.unnamed.undo import undo_last

PLACES = ("beach", "forest", "city", "garden", "snow", "kitchen", "bedroom", "desert")
DAY = datetime(2021, 5, 1, 12)


@dataclass(frozen=True)
class Strangers:
    """The photos of each, by name: `anna`, `ben`, `rex`, and `nobody` for the others."""

    folder: Path
    photos: dict[str, list[DrawnPhoto]]

    def names(self, who: str) -> set[str]:
        """The file names of the photos of somebody."""
        return {p.path.name for p in self.photos[who]}


def draw_library(folder: Path) -> Strangers:
    """Anna in six photos, in one of them with Ben, who is in three more; Rex in five; two people once."""
    rng = np.random.default_rng(12)
    ben = draw_individual(rng, "man")
    once = [draw_individual(rng, c) for c in ("woman", "boy")]
    casts = [("anna", (ANNA,))] * 5 + [("both", (ANNA, ben))] + [("ben", (ben,))] * 3
    casts += [("rex", (REX,))] * 5 + [("nobody", (who,)) for who in once]
    photos: dict[str, list[DrawnPhoto]] = {"anna": [], "ben": [], "rex": [], "nobody": []}
    for k, (who, cast) in enumerate(casts):
        taken = DAY + timedelta(days=40 * k)
        scene = compose(rng, cast, place=PLACES[k % len(PLACES)])
        drawn = save_photo(scene, folder / f"IMG_{k:02}.jpg", taken=taken, orientation=(1, 6)[k % 2])
        for name in ("anna", "ben") if who == "both" else (who,):
            photos[name].append(drawn)
    return Strangers(folder, photos)


def make_log(session, groups, kind) -> GroupLog:
    """A log that carries out what is done with a session."""
    actions = GroupActions(
        lambda group, name, anyway: name_group(session, group, kind, name, anyway=anyway),
        lambda group: ignore_group(session, group, kind),
        lambda group_id: undo_last(session, group_id),
        lambda: [c.name for c in session.store.all() if c.kind is kind],
    )
    return GroupLog(groups, actions)
