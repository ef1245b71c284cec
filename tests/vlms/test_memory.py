"""Running out of memory says so and what would fit, wherever it happens; it is never a traceback or a damaged file."""

import engine.core.device  # noqa: F401

import pytest
import torch

from engine.core.errors import EnvironmentFault, is_out_of_memory
from engine.vlms import memory
from engine.vlms.find import find_config
from engine.vlms.memory import check_room, memory_fault
from engine.vlms.registry import load_vlm
from tests.learned import draw_album

ERRORS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError("Unable to allocate 3.00 GiB for an array"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    OSError(12, "Cannot allocate memory"),
]


@pytest.fixture(params=ERRORS, ids=lambda e: f"{type(e).__name__}-{str(e)[:12]}")
def failing(request):
    def fail(*_, **__):
        raise request.param

    return fail


def test_what_is_and_is_not_lack_of_memory():
    assert all(is_out_of_memory(e) for e in ERRORS)
    wrapped = ValueError("weights")
    wrapped.__cause__ = ERRORS[1]
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    assert not is_out_of_memory(OSError(2, "No such file"))


def test_loading_a_vlm(failing, monkeypatch):
    monkeypatch.setattr("engine.vlms.llava_next.LlavaNext.load", failing)
    with pytest.raises(EnvironmentFault, match="storybook does not fit into the memory of") as caught:
        load_vlm(find_config("storybook"), torch.device("cpu"), torch.float32)
    assert "incomplete" not in caught.value.hint
    assert "--vlm none" in caught.value.hint


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("engine.vlms.llava_next.LlavaNext.load", ("caption", "{album}")),
        ("engine.vlms.llava_next.LlavaNext.generate", ("caption", "{album}")),
        ("engine.vlms.llava_next.LlavaNext.generate", ("ask", "{album}", "What is in the image?")),
        ("engine.vlms.llava_next.LlavaNext.encode", ("locate", "rex", "{album}", "--method", "refer")),
        ("engine.vlms.llava_next.LlavaNext.loss_behind", ("train", "rex", "--steps", "2")),
        ("engine.vision.encoder.ImageEncoder.encode", ("caption", "{album}")),
        ("engine.vision.faces.FaceAnalyser.find", ("caption", "{album}")),
        ("engine.vision.detector.AutoModelForObjectDetection.from_pretrained", ("caption", "{album}")),
        ("engine.vision.encoder.open_clip.create_model", ("caption", "{album}")),
    ],
)
def test_every_command_says_so(myvlm, session, tmp_path, monkeypatch, place, command):
    draw_album(tmp_path / "album")

    def fail(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(place, fail)
    result = myvlm(*(c.format(album=tmp_path / "album") for c in command))
    assert result.code == 3, result.err
    assert "out of memory" in result.err
    assert "What can help" in result.err
    assert "Traceback" not in result.err
    assert not list((tmp_path / "album").glob("*.xmp"))


@pytest.mark.parametrize(
    ("device", "dtype", "gb", "words"),
    [
        ("cuda", "bfloat16", 16, "needs 19.5 GB of GPU memory in bfloat16, and this GPU has 16 GB"),
        ("cuda", "float16", 24, ""),
        ("cuda", "float32", 24, "needs 37 GB of GPU memory in float32, and this GPU has 24 GB"),
        ("cpu", "float32", 32, "needs 37 GB of memory in float32, and this machine has 32 GB"),
        ("cpu", "bfloat16", 32, ""),
        ("cpu", "float32", 0, ""),  # the system does not tell
        ("mps", "float32", 8, "needs 37 GB of memory in float32, and this machine has 8 GB"),
    ],
)
def test_a_vlm_that_cannot_fit_is_not_loaded(monkeypatch, device, dtype, gb, words):
    monkeypatch.setattr(memory, "_gpu_gb", lambda: gb)
    monkeypatch.setattr(memory, "machine_memory_gb", lambda: gb)
    if not words:
        check_room(find_config("llava-1.6"), device, dtype)
        return
    with pytest.raises(EnvironmentFault, match=words) as caught:
        check_room(find_config("llava-1.6"), device, dtype)
    assert ("lfm2-vl-1.6b (5.7 GB)" if gb == 8 else "qwen3-vl-4b (12.3 GB)") in caught.value.hint


@pytest.mark.parametrize(
    ("name", "dtype", "error", "gb", "words", "not_words"),
    [
        (
            "llava-1.6",
            "float32",
            ERRORS[0],
            24,
            ("--dtype float16 (19.5 GB)", "qwen3-vl-4b (12.3 GB)", "--device cpu"),
            (),
        ),
        (
            "llava-1.6",
            "float16",
            ERRORS[0],
            16,
            ("qwen3-vl-4b (12.3 GB)", "16 GB"),
            ("--dtype float16 (", "minigpt", "--quantise"),
        ),
        ("blip-2", "float16", ERRORS[0], 8, ("--vlm none", "--device cpu", "qwen3.5-2b (6.3 GB)"), ("--quantise",)),
        ("smolvlm2-500m", "float16", ERRORS[2], 1, ("--vlm none",), ("smaller VLM",)),
        ("qwen3-vl-8b", "bfloat16", ERRORS[0], 16, ("--quantise int8 (11 GB)", "--quantise int4 (7.3 GB)"), ()),
        ("qwen3-vl-8b", "int8", ERRORS[0], 8, ("smaller VLM",), ("--quantise int8",)),
        ("llava-1.6", "float32", ERRORS[3], 32, ("--dtype bfloat16 (19.5 GB)", "32 GB"), ("--device cpu", "GPU")),
    ],
)
def test_what_would_fit(monkeypatch, name, dtype, error, gb, words, not_words):
    monkeypatch.setattr(memory, "_gpu_gb", lambda: gb)
    monkeypatch.setattr(memory, "machine_memory_gb", lambda: gb)
    fault = memory_fault(error, find_config(name), dtype)
    told = f"{fault} {fault.hint}"
    assert all(w in told for w in words), told
    assert not any(w in told for w in not_words), told
