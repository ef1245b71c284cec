"""The memory that a VLM may use, the number format that follows from it, and which VLM is chosen by itself."""

import json
from dataclasses import replace
from fnmatch import fnmatch

import engine.core.device  # noqa: F401
from engine.core.device import pick_device, pick_dtype

import pytest
import torch
from safetensors.torch import save_file

from engine import chosen_models
from engine.chosen_models import ChosenModels, ModelOptions, usual_room
from engine.core import cpu
from engine.core.errors import EnvironmentFault, UsageError
from engine.vlms import memory, registry
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.find import find_config
from engine.vlms.memory import (
    Room,
    best_format,
    check_room,
    fits,
    lack_of_memory,
    largest_batch,
    may_be_default,
    memory_needed,
)
from engine.vlms.preference import PREFERENCE, PROPOSED, by_preference, proposed
from engine.vlms.registry import load_vlm, precision_of
from engine.vlms.size import Size, count_size

GPU = Room("cuda", 25.3, True, ("int8", "nf4"))
OLD_GPU = Room("cuda", 8.2, False, ("int8", "nf4"))
PLAIN_GPU = Room("cuda", 12.6, True)  # without bitsandbytes
CPU = Room("cpu", 16.5, False, ("int8", "nf4"))
FAST_CPU = Room("cpu", 16.5, True, ("int8", "nf4"))
MAC = Room("mps", 17.2, False, ("int8", "int4"))
QWEN = find_config("qwen3-vl-4b")


def test_what_a_vlm_needs_is_its_weights_its_cache_and_a_little_more():
    size = Size(parameters=4.0, linear=3.0, cache_kb=100.0, image_tokens=570)
    assert size.weights_gb("bfloat16") == 8.0
    assert size.weights_gb("float32") == 16.0
    assert size.weights_gb("int8") == 2.0 + 3.0
    assert size.weights_gb("nf4") == pytest.approx(2.0 + 3.0 * 0.516)
    rows = 1000  # 570 of the photo, 430 of text
    assert size.needed_gb("bfloat16", 1) == pytest.approx(8.0 + rows * 100e3 / 1e9 + rows * 0.1 / 1e3 + 0.6)
    assert size.needed_gb("bfloat16", 3) - size.needed_gb("bfloat16", 1) == pytest.approx(2 * 0.2)


@pytest.mark.parametrize(
    ("name", "precision", "gb"),
    [  # ../shared/design/current_vlms.md, "Small machines"; within 0.2 GB
        ("qwen3-vl-2b", "bfloat16", 7.3),
        ("qwen3-vl-4b", "nf4", 6.2),
        ("qwen3-vl-4b", "int8", 8.1),
        ("qwen3-vl-4b", "bfloat16", 12.2),
        ("qwen3-vl-8b", "nf4", 9.7),
        ("qwen3-vl-8b", "int8", 13.3),
        ("qwen3-vl-8b", "bfloat16", 20.8),
    ],
)
def test_the_needs_are_those_of_the_design(name, precision, gb):
    assert memory_needed(find_config(name), precision) == pytest.approx(gb, abs=0.2)


def test_less_precise_formats_need_less():
    for config in list_configs():
        if config.size:
            needs = [memory_needed(config, f) for f in ("float32", "bfloat16", "int8", "nf4")]
            assert needs == sorted(needs, reverse=True)
            assert memory_needed(config, "bfloat16", 1) < memory_needed(config, "bfloat16")


def test_the_papers_vlms_need_what_their_configs_say():
    llava = find_config("llava-1.6")
    assert (memory_needed(llava), memory_needed(llava, "bfloat16"), memory_needed(llava, "float32")) == (19.5, 19.5, 37)
    assert memory_needed(llava, "int8") == 0.0


@pytest.mark.parametrize(
    ("room", "quantise", "formats"),
    [
        (GPU, "auto", ("bfloat16", "int8", "nf4")),
        (OLD_GPU, "auto", ("float16", "int8", "nf4")),
        (PLAIN_GPU, "auto", ("bfloat16",)),
        (CPU, "auto", ("float32", "int8", "nf4")),
        (FAST_CPU, "auto", ("bfloat16", "int8", "nf4")),
        (MAC, "auto", ("float16", "int8", "int4")),
        (GPU, "none", ("bfloat16",)),
        (GPU, "int8", ("int8",)),
        (GPU, "int4", ("nf4",)),
        (MAC, "int4", ("int4",)),
    ],
)
def test_the_formats_of_a_chat_vlm(room, quantise, formats):
    assert room.formats(QWEN, quantise) == formats


def test_the_storybook_and_the_papers_vlms_keep_float32_on_a_cpu():
    for name in ("storybook", "storybook-blip2", "llava-1.6"):
        assert FAST_CPU.formats(find_config(name)) == ("float32",)
    assert MAC.formats(find_config("storybook")) == ("float32",)
    assert MAC.formats(find_config("llava-1.6")) == ("float16",)
    assert GPU.formats(find_config("llava-1.6")) == ("bfloat16",)


def test_a_checkpoint_that_is_quantised_stays_as_it_is():
    stored = replace(QWEN, size=replace(QWEN.size, quantised_gb=3.0))
    assert GPU.formats(stored, "int8") == ("quantised",)
    assert memory_needed(stored, "quantised", 1) == pytest.approx(3.0 + 0.6 + 0.35, abs=0.1)
    assert fits(stored, OLD_GPU) == "quantised"


def test_auto_takes_the_first_format_that_fits():
    found = {gb: fits(QWEN, Room("cuda", gb, True, ("int8", "nf4"))) for gb in (4, 8, 10, 16)}
    assert found == {4: "", 8: "nf4", 10: "int8", 16: "bfloat16"}


def test_a_vlm_that_was_asked_for_is_also_loaded_where_only_one_photo_fits():
    room = Room("cuda", 5.0, True, ("int8", "nf4"))
    assert fits(QWEN, room) == ""
    assert best_format(QWEN, room) == "nf4"
    assert best_format(QWEN, Room("cuda", 2.0, True, ("int8", "nf4"))) == "bfloat16"  # which loading refuses
    assert best_format(QWEN, Room("cpu", 0.0)) == "float32"  # the system does not tell


def test_a_vlm_of_unknown_size_is_not_chosen_and_is_loaded_plain():
    unknown = VlmConfig("own", "chat", "own")
    assert (fits(unknown, GPU), best_format(unknown, GPU)) == ("", "bfloat16")


@pytest.mark.parametrize(
    ("room", "name"),
    [
        (Room("cpu", 8.3, True), "smolvlm2-500m"),
        (FAST_CPU, "qwen3-vl-2b"),
        (Room("cuda", 8.2, True, ("int8", "nf4")), "qwen3-vl-4b"),
        (Room("cuda", 12.6, True, ("int8", "nf4")), "qwen3-vl-8b"),
        (Room("cuda", 17.1, True, ("int8", "nf4")), "qwen3-vl-8b"),
        (GPU, "qwen3-vl-8b"),
        (MAC, "qwen3-vl-2b"),
        (Room("mps", 34.4), "qwen3-vl-4b"),
    ],
)
def test_what_is_proposed_is_the_table_of_the_design(room, name):
    assert proposed(list_configs(), room)[0].name == name


def test_a_large_vlm_is_not_chosen_for_a_cpu_by_itself():
    room = Room("cpu", 200.0, True)
    assert fits(QWEN, room) == "bfloat16"
    assert not may_be_default(QWEN, room)
    assert "needs 6.3 GB of GPU memory in nf4, and no CUDA GPU is in use here" in lack_of_memory(QWEN, room)


def test_every_vlm_for_photos_has_a_place_in_the_order():
    names = [c.name for c in list_configs() if not c.world]
    assert sorted(PREFERENCE) == sorted(names)
    assert set(PROPOSED) < set(PREFERENCE)
    assert [c.name for c in by_preference(list_configs())][: len(names)] == list(PREFERENCE)


def test_loading_is_refused_only_where_not_even_one_photo_fits(monkeypatch):
    monkeypatch.setattr(memory, "_gpu_gb", lambda: 8.2)
    check_room(QWEN, "cuda", "int8")  # 8.2 GB with a batch of 8, 5.8 with one
    with pytest.raises(
        EnvironmentFault, match=r"needs 9\.8 GB of GPU memory in bfloat16, and this GPU has 8 GB"
    ) as err:
        check_room(QWEN, "cuda", "bfloat16")
    assert "--quantise int8" in err.value.hint


# what a run uses


@pytest.fixture
def here(monkeypatch, bare_home):
    """The models of a run on a described machine."""

    def make(room, **options):
        models = ChosenModels(ModelOptions(**options), bare_home)
        models.__dict__["room"] = room
        models.__dict__["device"] = torch.device(room.device)
        return models

    return make


@pytest.mark.parametrize(
    ("room", "options", "precision", "dtype"),
    [
        (GPU, {}, "bfloat16", "bfloat16"),
        (OLD_GPU, {}, "nf4", "float16"),
        (CPU, {}, "int8", "float32"),
        (FAST_CPU, {}, "int8", "bfloat16"),
        (MAC, {}, "int8", "float16"),
        (MAC, {"quantise": "none"}, "float16", "float16"),
        (GPU, {"quantise": "int4"}, "nf4", "bfloat16"),
        (MAC, {"quantise": "int4"}, "int4", "float16"),
        (OLD_GPU, {"dtype": "float32"}, "float32", "float32"),
        (GPU, {"dtype": "float16", "quantise": "int8"}, "int8", "float16"),
    ],
)
def test_the_format_of_a_run(here, room, options, precision, dtype):
    models = here(room, vlm="qwen3-vl-4b", **options)
    assert models.vlm_format == precision
    assert str(models.vlm_dtype) == f"torch.{dtype}"


def test_the_storybook_stays_in_float32(here, session):
    models = here(FAST_CPU, vlm="storybook")
    assert (models.vlm_format, str(models.vlm_dtype), str(models.dtype)) == (
        "float32",
        "torch.float32",
        "torch.float32",
    )
    assert session.vlm_in_use.precision == "float32"


def test_a_family_with_an_adapter_of_its_own_cannot_be_quantised(here):
    with pytest.raises(UsageError, match=r"llava-1\.6 cannot be loaded in int8"):
        _ = here(GPU, vlm="llava-1.6", quantise="int8").vlm_format
    assert precision_of(QWEN, torch.device("cuda"), torch.bfloat16, "int4") == "nf4"


# devices


def test_apples_gpu_is_used_where_torch_can(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device().type == pick_device("mps").type == "mps"
    assert pick_dtype("auto", torch.device("mps")) == torch.float32  # for the recogniser
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device().type == "cpu"
    with pytest.raises(EnvironmentFault, match="no GPU of Apple's"):
        pick_device("mps")


def test_the_memory_of_a_mac_is_that_of_the_machine(monkeypatch, bare_home):
    monkeypatch.setattr(chosen_models, "is_apple_silicon", lambda: True)
    monkeypatch.setattr(chosen_models, "machine_memory_gb", lambda: 17.2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    models = ChosenModels(ModelOptions(vlm="qwen3-vl-2b"), bare_home)
    assert (models.room.device, models.room.gb, usual_room()) == ("mps", 17.2, models.room)
    assert (models.vlm_format, models.uses_cuda) == ("float16", False)
    on_cpu = ChosenModels(ModelOptions(device="cpu"), bare_home)
    assert on_cpu.room.device == "cpu"


def test_weights_are_read_one_after_another_on_a_mac(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.delenv("HF_DEACTIVATE_ASYNC_LOAD", raising=False)
    monkeypatch.setattr(registry, "check_weights", lambda config: tmp_path)
    monkeypatch.setattr(registry, "model_type_of", lambda path: "qwen3_vl")
    monkeypatch.setattr(memory, "machine_memory_gb", lambda: 64.0)

    def load(config, folder, device, dtype, quantise):
        seen.update(device=device.type, dtype=dtype, quantise=quantise, setting=registry.os.environ.copy())

    monkeypatch.setattr(registry, "_load", load)
    load_vlm(QWEN, torch.device("mps"), torch.float16)
    assert (seen["device"], seen["quantise"]) == ("mps", "none")
    assert seen["setting"]["HF_DEACTIVATE_ASYNC_LOAD"] == "1"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags : amx_bf16 x\n", True),
        ("flags : fpu avx2\n", False),
        ("", False),
    ],
)
def test_whether_the_cpu_calculates_in_bfloat16(monkeypatch, tmp_path, flags, expected):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}")
    monkeypatch.setattr(cpu, "_CPU_INFO", tmp_path / "cpuinfo")
    assert cpu.has_bfloat16() is expected
    monkeypatch.setattr(cpu, "_CPU_INFO", tmp_path / "nothing")
    assert not cpu.has_bfloat16()


def test_a_card_that_held_llava_still_does():
    card = Room("cuda", 21.2, True)  # 20 GiB
    assert fits(find_config("llava-1.6"), card) == "bfloat16"
    assert not fits(find_config("qwen3-vl-8b"), card)
    assert fits(find_config("qwen3-vl-8b"), replace(card, gb=24.0))


def test_what_is_said_of_a_vlm_that_is_a_little_too_large():
    qwen = replace(QWEN, size=Size(parameters=9.0, linear=8.0, cache_kb=100.0))
    assert lack_of_memory(qwen, Room("cuda", 21.2, True)).endswith("this GPU has 21 GB, of which it may use 19 GB")


def test_a_vlm_of_the_paper_stays_the_default_beside_others(monkeypatch):
    names = ("qwen3-vl-8b", "blip-2", "smolvlm2-500m", "llava-1.6")
    monkeypatch.setattr(registry, "find_weights", lambda config: config.name in names)
    assert [c.name for c in registry.vlms_on_disk()] == ["llava-1.6", "blip-2", "qwen3-vl-8b", "smolvlm2-500m"]


def test_weights_that_a_folder_holds_twice_count_once(tmp_path):
    weights = {"model.layers.0.q_proj.weight": torch.zeros(8, 8)}
    save_file(weights, tmp_path / "model-00001-of-00001.safetensors")
    save_file(weights, tmp_path / "consolidated.safetensors")
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": dict.fromkeys(weights, "model-00001-of-00001.safetensors")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    size = count_size(tmp_path)
    assert size is not None
    assert size.parameters == pytest.approx(64 / 1e9)


def test_only_the_weights_that_transformers_reads_are_fetched():
    files = ["model-00001-of-00002.safetensors", "consolidated.safetensors", "config.json", "tokenizer.model"]
    assert [f for f in files if any(fnmatch(f, p) for p in registry.WEIGHT_FILES)] == [files[0], *files[2:]]


@pytest.mark.parametrize(
    ("name", "gb", "batch"),
    [
        ("llava-1.6", 24.0, 8),  # 19.5 GB with 8 photos, 0.35 GB for each more
        ("llava-1.6", 26.0, 16),
        ("llava-1.6", 80.0, 32),
        ("storybook", 80.0, 16),
    ],
)
def test_a_gpu_with_room_describes_more_photos_at_a_time(name, gb, batch):
    config = find_config(name)
    assert largest_batch(config, Room("cuda", gb, bfloat16=True), "bfloat16") == batch
    assert largest_batch(config, Room("cpu", gb), "float32") == config.batch
