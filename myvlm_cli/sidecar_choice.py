"""Options for what is written to sidecars, what they are called, and where they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from myvlm_cli.sessions import default_of

if TYPE_CHECKING:
    from engine.sidecars.locate import Naming
    from engine.sidecars.plan import SidecarOptions


@dataclass(frozen=True)
class SidecarChoice:
    """What is written to sidecars, what they are called, and where they are; None for what `config.toml` says."""

    on_existing: Annotated[
        Literal["keep", "replace-all"] | None,
        typer.Option(
            "--on-existing",
            help="What to do with a description that myvlm did not write: keep it, or replace it (undo restores it)."
            " Default: keep.",
        ),
    ] = None
    hierarchy: Annotated[
        bool | None,
        typer.Option(
            "--hierarchy/--no-hierarchy",
            help="Write hierarchical keywords (People|Anna) even where there are none yet. Default: no.",
        ),
    ] = None
    regions: Annotated[
        Literal["none", "people", "all"] | None,
        typer.Option(
            "--regions",
            help="Regions to write. people: faces. all: pets as well, which digiKam and Immich take for people."
            " Default: none.",
        ),
    ] = None
    sidecar_naming: Annotated[
        Literal["auto", "ext", "stem"] | None,
        typer.Option(
            "--sidecar-naming",
            help="ext: photo.jpg.xmp. stem: photo.xmp, as in Adobe programs. auto: the one that exists, else ext."
            " Default: auto.",
        ),
    ] = None
    sidecar_dir: Annotated[
        Path | None,
        typer.Option(
            "--sidecar-dir",
            metavar="FOLDER",
            help="Keep sidecars under this folder instead of beside the photos, for read-only libraries.",
            show_default=False,
        ),
    ] = None

    @property
    def naming_given(self) -> bool:
        """Whether an option says where sidecars are or what they are called."""
        return self.sidecar_naming is not None or self.sidecar_dir is not None

    @property
    def naming(self) -> "Naming":
        """What sidecars are called, and the folder that holds them."""
        from engine.sidecars.locate import Naming

        folder = default_of("sidecar-dir", str(self.sidecar_dir) if self.sidecar_dir else None)
        style = cast(Literal["auto", "ext", "stem"], default_of("sidecar-naming", self.sidecar_naming))
        return Naming(style, Path(str(folder)).expanduser().absolute() if folder else None)

    @property
    def content(self) -> "SidecarOptions":
        """What is written to sidecars."""
        from engine.sidecars.plan import RegionChoice, SidecarOptions
        from engine.sidecars.xmp import Policy

        replace_all = default_of("on-existing", self.on_existing) == "replace-all"
        policy = Policy(replace_all=replace_all, hierarchy=bool(default_of("hierarchy", self.hierarchy)))
        return SidecarOptions(policy, RegionChoice(str(default_of("regions", self.regions))))
