"""Read a hub repository's own facts before anything of it is fetched: family, size, licence, checksums."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from engine.core.errors import EngineError, EnvironmentFault, UsageError, first_line
from engine.vlms.config import OWN_LICENSE, VlmConfig
from engine.vlms.find import find_config
from engine.vlms.registry import WEIGHT_FILES

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo


AGAIN = "Is there a network? Then run the same command again."


class UnreachableError(EnvironmentFault):
    """The hub, or another place that weights are fetched from, cannot be reached or refuses."""


@dataclass(frozen=True)
class HubFile:
    """A file of a hub repository. size: in bytes. sha256: None for small files, which are not in large file storage."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Repository:
    """A hub repository at one revision, which is a commit. license: as its card states it."""

    id: str
    revision: str
    license: str
    files: tuple[HubFile, ...]

    def select(self, patterns: Sequence[str]) -> "Repository":
        """Return the repository with only those files that match one of the patterns."""
        kept = tuple(f for f in self.files if any(fnmatch(f.name, p) for p in patterns))
        return Repository(self.id, self.revision, self.license, kept)

    @property
    def size(self) -> str:
        """The size of its files, for people."""
        return size_text(sum(f.size for f in self.files))


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def read_repository(repo_id: str, revision: str = "main") -> Repository:
    """Read the facts about a repository. This uses the network.

    Raises:
        UsageError: there is no such repository, or the id is none.
        EnvironmentFault: the hub cannot be reached, or wants the user to log in or accept terms.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
    except HFValidationError as err:
        raise UsageError(f"{repo_id!r} is no hub id: {first_line(err)}") from err
    except Exception as err:  # huggingface_hub and its HTTP client raise many types
        raise hub_error(repo_id, err) from err
    files = tuple(HubFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None) for s in info.siblings or ())
    return Repository(repo_id, info.sha or revision, _license(info), files)


def _license(info: "ModelInfo") -> str:
    """Return the licence that a repository's card states."""
    card = info.card_data
    if card is None or not card.license:
        return OWN_LICENSE
    name = card.get("license_name")
    return str(name) if card.license == "other" and name else str(card.license)


def check_family(repo: Repository) -> VlmConfig:
    """Read a repository's `config.json`, and return the config that its VLM is used with. This uses the network.

    Raises:
        UsageError: it is no VLM of a supported family, or has no safetensors.
        EnvironmentFault: the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    names = {f.name for f in repo.files}
    if "config.json" not in names:
        raise UsageError(f"{repo.id} is no VLM that myvlm can use: it has no config.json", hint="See: myvlm models")
    try:
        path = hf_hub_download(repo.id, "config.json", revision="main")
    except Exception as err:  # as in read_repository
        raise hub_error(repo.id, err) from err
    config = find_config(repo.id)
    check_language_model(config, path)
    if not any(fnmatch(n, "*.safetensors") for n in names):
        raise UsageError(f"{repo.id} has no safetensors, and other weights are not loaded", hint="See: myvlm models")
    return config


def check_language_model(config: VlmConfig, path: str) -> None:
    """Check that the language model that a `config.json` names is one that the family's code can use.

    Raises:
        UsageError: it is a BLIP-2 without a T5.
    """
    from pathlib import Path

    from engine.vlms.find import language_model_of

    language_model = language_model_of(Path(path))
    if config.backend == "blip-2" and language_model != "t5":
        raise UsageError(
            f"{config.repo_id} is a BLIP-2 with the language model {language_model!r}; only T5 is supported",
            hint="Use a BLIP-2 with a Flan-T5, for example Salesforce/blip2-flan-t5-xl.",
        )


def select_weights(repo: Repository) -> Repository:
    """Return a VLM's repository with only the files that are used."""
    return repo.select(WEIGHT_FILES)


def hub_error(repo_id: str, err: Exception) -> EngineError:
    """Return the error to raise where the hub refused or could not be reached."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(err, GatedRepoError):
        hint = "Accept its terms on its page in a browser, then run: hf auth login"
        return EnvironmentFault(f"{repo_id} is only given to users who accepted its terms", hint=hint)
    if isinstance(err, RepositoryNotFoundError | RevisionNotFoundError):
        return UsageError(f"there is no public repository {repo_id} on the hub", hint="Check the id, or: myvlm models")
    return UnreachableError(
        f"{repo_id} could not be fetched from the hub: {first_line(err)}",
        hint=AGAIN,
    )
