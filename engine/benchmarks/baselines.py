"""The paper's baselines without an embedding: replace a keyword, by rule or with a language model (paper §5)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.core.errors import EnvironmentFault, first_line
from engine.vlms.wording import has_word, name_for_phrase, noun_phrases, replace_words

IN_CONTEXT = "takes one image a prompt"
"""Why reference photos cannot be put into the prompt of any VLM here."""
_LLM_BATCH, _LLM_TOKENS = 8, 96
_PROMPT = (
    "Here is a caption of a photo: {caption}\n"
    'Only if the word "{keyword}" appears in the caption, or another word for the same subject ({others}), rewrite the '
    'caption with the name "{identifier}" in its place and change nothing else. Otherwise repeat the caption as it is. '
    "Answer with the caption alone."
)


def replace_keyword(caption: str, keywords: Sequence[str], identifier: str) -> str:
    """Replace the first keyword that a caption has, with its article and adjectives, by the identifier.

    Only whole words count ("car" is not in "carpet"); one place is changed. A caption without a keyword stays the same.
    """
    for keyword in keywords:
        if has_word(caption, keyword):
            spans = noun_phrases(caption, keyword)
            if spans:
                return name_for_phrase(caption, spans[0], identifier)
            marked = replace_words(caption, {keyword: "\0"})
            return marked.replace("\0", identifier, 1).replace("\0", keyword)
    return caption


class Rewriter:
    """A local instruct language model that puts the identifier into plain captions."""

    def __init__(self, source: str, device: str) -> None:
        """Load a model by hub id (from the local cache), folder or GGUF file.

        Raises:
            EnvironmentFault: the model is not on this disk, has no chat template, is no causal language model, does not
                fit the GPU's memory, or is a GGUF file and the packages that read one are missing.
        """
        import engine.core.device  # noqa: F401, I001
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place, options = _where(source)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(place, padding_side="left", **options)
            model: Any = AutoModelForCausalLM.from_pretrained(place, dtype="auto", **options)
        except (OSError, ValueError, KeyError) as err:
            raise EnvironmentFault(f"the language model {source} cannot be loaded: {first_line(err)}") from err
        if not self._tokenizer.chat_template:
            raise EnvironmentFault(f"{source} has no chat template: it is no instruct model")
        import torch

        try:
            self._model = model.eval().to(device)
        except torch.cuda.OutOfMemoryError as err:
            raise EnvironmentFault(f"{source} does not fit the GPU's memory") from err

    def rewrite(
        self, captions: Sequence[str], keywords: Sequence[Sequence[str]], identifiers: Sequence[str]
    ) -> list[str]:
        """Return the model's version of each caption."""
        prompts = [rewriting_prompt(c, k, i) for c, k, i in zip(captions, keywords, identifiers, strict=True)]
        texts: list[str] = []
        for start in range(0, len(prompts), _LLM_BATCH):
            texts += self._answer(prompts[start : start + _LLM_BATCH])
        return texts

    def _answer(self, prompts: Sequence[str]) -> list[str]:
        import torch

        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        turns = [[{"role": "user", "content": p}] for p in prompts]
        inputs = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, padding=True, return_dict=True, return_tensors="pt"
        ).to(self._model.device)
        try:
            with torch.inference_mode():
                out = self._model.generate(**inputs, do_sample=False, max_new_tokens=_LLM_TOKENS)
        except torch.cuda.OutOfMemoryError as err:
            raise EnvironmentFault("the language model does not fit the GPU's memory") from err
        texts = self._tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [t.strip().strip('"').strip() for t in texts]


def _where(source: str) -> tuple[str, dict[str, Any]]:
    """Return where `from_pretrained` finds a model, and its options; a GGUF file is decompressed while it is loaded.

    Raises:
        EnvironmentFault: the packages that read GGUF files are missing.
    """
    path = Path(source).expanduser()
    if path.suffix != ".gguf":
        return source, {"local_files_only": True}
    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if missing:
        raise EnvironmentFault(
            f"{source} cannot be read: {' and '.join(missing)} missing", hint="Run: pip install 'myvlm[evaluate]'"
        )
    return str(path.parent), {"gguf_file": path.name, "local_files_only": True}


def rewriting_prompt(caption: str, keywords: Sequence[str], identifier: str) -> str:
    """Return the language model's prompt for one caption."""
    first, *others = keywords
    return _PROMPT.format(caption=caption, keyword=first, others=", ".join(others), identifier=identifier)
