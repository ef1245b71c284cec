"""The paper's baselines without an embedding: a keyword replaced, by rule or by a language model (paper §5)."""

from collections.abc import Sequence
from typing import Any

from engine.core.errors import EnvironmentFault, first_line
from engine.vlms.wording import has_word, name_for_phrase, noun_phrases, replace_words

IN_CONTEXT = "takes one image a prompt"
"""Why no VLM here can be shown reference photos in its prompt."""
_LLM_BATCH, _LLM_TOKENS = 8, 96
_ASK = (
    "Here is a caption of a photo: {caption}\n"
    'Only if the word "{keyword}" appears in the caption, or another word for the same subject ({others}), rewrite the '
    'caption with the name "{identifier}" in its place and change nothing else. Otherwise repeat the caption as it is. '
    "Answer with the caption alone."
)


def replace_keyword(caption: str, keywords: Sequence[str], identifier: str) -> str:
    """The caption with the first keyword that occurs in it replaced by the identifier, article and adjectives included.

    Only whole words count ("car" is not in "carpet"), only one place is changed, and a caption without a keyword
    comes back as it is.
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
    """A local instruct language model that is asked to put the identifier into plain captions."""

    def __init__(self, source: str, device: str) -> None:
        """Load a model by hub id (from the local cache) or folder.

        Raises:
            EnvironmentFault: it is not on this disk, or no causal language model with a chat template.
        """
        import engine.core.device  # noqa: F401, I001
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(source, local_files_only=True, padding_side="left")
            model: Any = AutoModelForCausalLM.from_pretrained(source, local_files_only=True, dtype="auto")
        except (OSError, ValueError) as err:
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
        """What the model makes of every caption."""
        asks = [ask(c, k, i) for c, k, i in zip(captions, keywords, identifiers, strict=True)]
        said: list[str] = []
        for start in range(0, len(asks), _LLM_BATCH):
            said += self._answer(asks[start : start + _LLM_BATCH])
        return said

    def _answer(self, asks: Sequence[str]) -> list[str]:
        import torch

        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        turns = [[{"role": "user", "content": a}] for a in asks]
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


def ask(caption: str, keywords: Sequence[str], identifier: str) -> str:
    """What the language model is asked about one caption."""
    first, *others = keywords
    return _ASK.format(caption=caption, keyword=first, others=", ".join(others), identifier=identifier)
