"""Find the config of a VLM: of a name that myvlm knows, a hub id, a folder, or a server's model."""

import json
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.core.errors import EnvironmentFault, UsageError, first_line
from engine.core.files import LARGEST_DOCUMENT, read_text
from engine.vlms.config import (
    OWN_LICENSE,
    VlmConfig,
    chat_facts,
    chat_families,
    list_configs,
    make_config,
    parse_config,
)
from engine.vlms.prompt_config import Chat
from engine.vlms.size import count_size

SERVER = "openai:"
"""Prefix of a VLM that a server runs: openai:URL#MODEL."""
_NATIVE = {"llava_next": "llava-1.6", "llava": "llava-1.6", "blip-2": "blip-2", "minigpt_v2": "minigpt-v2"}
"""The families with an adapter of their own, by transformers' name, and the config that their checkpoints share."""
_INCOMPLETE = "The files may be incomplete; fetch or copy them again. `myvlm models` lists what can be used."
_OTHERS = "See `myvlm models` for what can be used."


def find_config(vlm: str) -> VlmConfig:
    """Find the config of a name, a hub id, a folder with a `config.json`, or `openai:URL#MODEL`.

    `NAME+VARIANT` is one of its variants.

    Raises:
        UsageError: no VLM has that name.
        EnvironmentFault: a folder, or a repository on this disk, holds no VLM that can be used, or is damaged.
    """
    if vlm.startswith(SERVER):
        config: VlmConfig = import_module("engine.vlms.server.config").server_config(vlm)
        return config
    name, plus, variant = vlm.rpartition("+")
    if plus and not Path(vlm).expanduser().exists():
        return _variant_of(find_config(name), variant)
    configs = list_configs()
    for config in configs:
        if vlm in (config.name, config.repo_id):
            return config
    path = Path(vlm).expanduser()
    if path.exists():
        return _config_of(path)
    if vlm.count("/") == 1 and not vlm.startswith((".", "~", "/")):
        return _config_on_hub(vlm)
    names = ", ".join(c.name for c in configs)
    raise UsageError(f"no VLM called {vlm!r}", hint=f"Known: {names}; or give a hub id or a folder with a config.json.")


def _variant_of(config: VlmConfig, variant: str) -> VlmConfig:
    """Return a config with one of its named changes.

    Raises:
        UsageError: it has no variant of that name.
    """
    if variant not in config.variants:
        names = ", ".join(config.variants) or "none"
        raise UsageError(f"{config.name} has no variant {variant!r}", hint=f"Variants of {config.name}: {names}.")
    changes = dict(config.variants[variant])
    changes["requests"] = config.requests | changes.get("requests", {})
    for part in ("injection", "training"):
        changes[part] = replace(getattr(config, part), **changes.get(part, {}))
    if "chat" in changes:
        changes["chat"] = replace(config.chat or Chat(), **changes["chat"])
    combined = f"{config.variant}+{variant}"
    return replace(config, **changes, name=f"{config.name}+{variant}", variant=combined)


def _config_of(path: Path) -> VlmConfig:
    """Read the config of a folder: its `myvlm.json`, or else that of its family.

    Raises:
        EnvironmentFault: it is not the folder of a VLM, or is damaged.
    """
    if path.suffix == ".gguf" or (path.is_dir() and not (path / "config.json").is_file()):
        raise _no_checkpoint(path)
    if not path.is_dir():
        raise EnvironmentFault(f"{path} is a file, not the folder of a VLM", hint=_OTHERS)
    document = path / "myvlm.json"
    if not document.is_file():
        return _config_of_checkpoint(path, path.resolve().name, str(path.resolve()))
    try:
        return replace(parse_config(read_text(document, LARGEST_DOCUMENT)), repo_id=str(path.resolve()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise EnvironmentFault(f"{document} cannot be read: {first_line(err)}", hint="See engine/README.md.") from err


def _no_checkpoint(path: Path) -> EnvironmentFault:
    """Make the error about a folder or file in which no checkpoint of transformers is."""
    if path.suffix == ".gguf" or any(path.glob("*.gguf")):
        hint = "GGUF files run in a local server, such as llama.cpp's: --vlm openai:URL#MODEL"
        return EnvironmentFault(f"{path} is a GGUF model, which is not loaded here", hint=hint)
    hint = "Give the folder with config.json, *.safetensors and the tokenizer. " + _OTHERS
    return EnvironmentFault(f"{path} is not the folder of a VLM: it has no config.json", hint=hint)


def _config_on_hub(repo_id: str) -> VlmConfig:
    """Find the config of a hub repository: from its files where they are on this disk, else from its name."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(repo_id, "config.json")
    except HFValidationError as err:
        raise UsageError(f"{repo_id!r} is no hub id: {first_line(err)}") from err
    if isinstance(cached, str):
        return _config_of_checkpoint(Path(cached).parent, repo_id, repo_id)
    return _of_family(guess_family(repo_id), repo_id, repo_id)


def guess_family(repo_id: str) -> str:
    """Guess the family of a repository from its name, as transformers calls it; "" where the name does not tell.

    It is a guess about what is not on this disk; once it is fetched, its `config.json` tells.
    """
    name = _plain(repo_id)
    known = {_plain(word): key for key, facts in _supported().items() for word in (key, facts["name"])}
    known |= {"blip2": "blip-2", "llavav1": "llava_next", "llava15": "llava", "llavanext": "llava_next"}
    words = sorted((w for w in known if w in name), key=len, reverse=True)
    return known[words[0]] if words else ""


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _supported() -> dict[str, dict[str, Any]]:
    return chat_families()["supported"]


def _config_of_checkpoint(folder: Path, name: str, repo_id: str) -> VlmConfig:
    """Make the config of a checkpoint on this disk, by the family that its `config.json` names.

    Raises:
        EnvironmentFault: it is damaged, or of a family that cannot be used.
    """
    model_type = model_type_of(folder / "config.json")
    if not model_type:
        raise EnvironmentFault(f"{folder / 'config.json'} does not say which kind of model it is", hint=_INCOMPLETE)
    if model_type not in _NATIVE and (why := why_not_chat(model_type)):
        raise EnvironmentFault(f"{name} cannot be used: {why}", hint=_OTHERS)
    return replace(_of_family(model_type, name, repo_id), size=count_size(folder))


def why_not_chat(model_type: str) -> str:
    """Return in a clause why the `chat` backend cannot use a family; "" where it can.

    model_type: the name that transformers gives to it. transformers is imported only for one that is not known.
    """
    families = chat_families()
    if model_type in families["supported"]:
        return ""
    if model_type in families["refused"]:
        return str(families["refused"][model_type])
    import engine.core.device  # noqa: F401

    import transformers
    from transformers.models.auto import modeling_auto as known

    if model_type in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return ""
    if model_type in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return f"{model_type!r} is a text model, not a VLM"
    return (
        f"models of type {model_type!r} are not known as VLMs to the installed transformers {transformers.__version__}"
    )


def family_of(model_type: str) -> VlmConfig | None:
    """Return the config that the checkpoints of a family share; None for one that cannot be used."""
    if model_type not in _NATIVE and (not model_type or why_not_chat(model_type)):
        return None
    return _of_family(model_type, model_type, model_type)


def _of_family(model_type: str, name: str, repo_id: str) -> VlmConfig:
    """Make the config of a checkpoint of a family about which nothing else is known."""
    if model_type not in _NATIVE:
        return make_config(chat_facts(model_type) | {"name": name, "repo_id": repo_id})
    base = next(c for c in list_configs() if c.name == _NATIVE[model_type])
    # LLaVA's checkpoints have a chat template of their own.
    template = None if base.backend == "llava-next" else base.template
    own = replace(base, name=name, repo_id=repo_id, template=template, license=OWN_LICENSE)
    return replace(own, memory_gb={}, disk_gb=0.0, work=None, sources={})


def model_type_of(path: Path) -> str:
    """Read the name that transformers gives to the family of a `config.json`; "" where the file has none.

    Raises:
        EnvironmentFault: the file cannot be read.
    """
    return str(_read_facts(path).get("model_type", ""))


def language_model_of(path: Path) -> str:
    """Read the name that transformers gives to the language model of a VLM's `config.json`; "" where it has none.

    Raises:
        EnvironmentFault: the file cannot be read.
    """
    text = _read_facts(path).get("text_config", {})
    return str(text.get("model_type", "")) if isinstance(text, dict) else ""


def _read_facts(path: Path) -> dict[str, Any]:
    """Read a `config.json`.

    Raises:
        EnvironmentFault: it cannot be read, or holds something else.
    """
    try:
        facts = json.loads(read_text(path, LARGEST_DOCUMENT))
    except (OSError, ValueError) as err:
        raise EnvironmentFault(f"{path} cannot be read: {first_line(err)}", hint=_INCOMPLETE) from err
    if not isinstance(facts, dict):
        raise EnvironmentFault(f"{path} is no description of a model", hint=_INCOMPLETE)
    return facts
