"""Write the support matrix into engine/docs/vlms.md, as the checks of `test_families.py` find it.

Run: python -m tests.vlms.chat.matrix
"""

import importlib.util
import tempfile
from pathlib import Path
from types import SimpleNamespace

import engine.core.device  # noqa: F401

import transformers

from engine.core.errors import UsageError
from engine.vlms.config import chat_families
from engine.vlms.registry import load_vlm
from tests.vlms.chat import test_families as checks
from tests.vlms.chat.tiny import FAMILIES, config_of, save_family

DOCUMENT = Path(__file__).parents[3] / "engine" / "docs" / "vlms.md"
START, END = "<!-- matrix: python -m tests.vlms.chat.matrix -->\n", "<!-- end of matrix -->\n"
CHECKS = {
    "no concept = plain model": checks.test_without_concepts_ids_and_logits_are_the_plain_models,
    "batch = singles": checks.test_photos_with_different_numbers_of_concepts_equal_one_at_a_time,
    "losses of a batch": checks.test_a_batchs_losses_equal_those_of_its_photos,
    "rows and photo matter": checks.test_rows_and_photos_matter,
    "gradient": checks.test_the_gradient_reaches_the_rows_and_nothing_else,
    "cache = none": checks.test_the_cache_changes_nothing,
    "penalty": lambda tiny: [
        checks.test_the_penalties_are_those_of_the_models_own_attention(tiny, left) for left in (False, True)
    ],
}
COLUMNS = ["family", "`model_type`", *CHECKS, "layers measured", "attention maps", "prefix", "boxes"]


def table() -> str:
    """Run every check of every family; returns a Markdown table."""
    lines = [
        f"Measured with transformers {transformers.__version__}.",
        "",
        _line(COLUMNS),
        _line(["---"] * len(COLUMNS)),
    ]
    return "\n".join([*lines, *(_line(_row(family)) for family in FAMILIES)]) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(family) -> list[str]:
    if family.needs and importlib.util.find_spec(family.needs) is None:
        return [family.title, "", *["not run"] * (len(COLUMNS) - 2)]
    folder = save_family(family, Path(tempfile.mkdtemp()))
    vlm = load_vlm(config_of(family, folder), checks.CPU, checks.torch.float32)
    features = vlm.encode(vlm.preprocess(checks.images()))
    tiny = SimpleNamespace(family=family, folder=folder, vlm=vlm, features=features)
    found = [_outcome(check, tiny) for check in CHECKS.values()]
    model_type = vlm.model.config.model_type
    known = chat_families()["supported"].get(model_type, {})
    prefix = "yes" if known.get("prefix") else "no"  # checked by `test_losses_behind_prefixes_are_those_of_…`
    boxes = known.get("boxes", "none")
    return [family.title, f"`{model_type}`", *found, _layers(tiny), _maps(tiny), prefix, boxes]


def _outcome(check, tiny) -> str:
    try:
        check(tiny)
    except AssertionError:
        return "**no**"
    return "yes"


def _layers(tiny) -> str:
    """How many of the language model's layers have an attention that is measured."""
    batch = checks.prompt_batch(tiny, checks.rows_of(tiny), checks.REQUESTS)
    recorder = tiny.vlm._recorder(batch, "row")
    with checks.torch.no_grad():
        tiny.vlm._run(batch, recorder)
    return f"{len(recorder.penalties)} of {tiny.vlm.model.config.get_text_config().num_hidden_layers}"


def _maps(tiny) -> str:
    try:
        tiny.vlm.concept_attention(checks.rows_of(tiny), list(checks.COUNTS), checks.REQUESTS)
    except UsageError:
        return "no"
    return "yes"


def main() -> None:
    """Put the table between the marks of the document."""
    before, rest = DOCUMENT.read_text("utf-8").split(START)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{START}{table()}{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
