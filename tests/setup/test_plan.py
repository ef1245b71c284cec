"""Plans for described machines."""

from dataclasses import replace

import pytest

from engine.core.errors import UsageError
from engine.setup.machine import Gpu, Machine, measure_machine
from engine.setup.plan import Choices, make_plan
from engine.vision.config import find_recogniser, list_recognisers

LAPTOP = Machine("Linux", "x86_64", 4, 16.0, 200.0, cpu_gflops=200.0)
TINY = replace(LAPTOP, ram_gb=4.1)
LAPTOP_8 = replace(LAPTOP, ram_gb=8.3)
SERVER = replace(LAPTOP, bfloat16=True)
GPU_6 = replace(LAPTOP, gpu=Gpu("NVIDIA GeForce RTX 2060", 6.2))
GPU_8 = replace(LAPTOP, gpu=Gpu("NVIDIA GeForce RTX 4060", 8.2, 60.0, 250.0))
GPU_12 = replace(LAPTOP, gpu=Gpu("NVIDIA GeForce RTX 3060", 12.6, 50.0, 330.0))
GPU_16 = replace(LAPTOP, gpu=Gpu("NVIDIA GeForce RTX 4080", 17.1, 100.0, 700.0))
GPU_24 = replace(LAPTOP, gpu=Gpu("NVIDIA GeForce RTX 4090", 25.3, 160.0, 900.0))
H200 = replace(LAPTOP, gpu=Gpu("NVIDIA H200", 150.0, 790.0, 4800.0))
MAC_16 = Machine("macOS", "arm64", 8, 17.2, 100.0, cpu_gflops=1200.0)
MAC_32 = replace(MAC_16, ram_gb=34.4)
ACCEPTED = frozenset({"buffalo_l"})


@pytest.fixture(scope="module")
def recognisers():
    """What there is to choose from, with a shipped recogniser for real photos among them."""
    configs = list_recognisers()
    if any(not c.drawn_only and not c.encoder_repo for c in configs):
        return configs
    dfn5b = find_recogniser("dfn5b")
    faces = replace(dfn5b.faces, name="builtin", files=())
    return (*configs, replace(dfn5b, name="builtin", encoder_repo="", faces=faces, photos_per_second=3.0))


@pytest.fixture
def plan(recognisers):
    return lambda machine, **choices: make_plan(machine, Choices(**choices), recognisers=recognisers)


def by_name(plan):
    return {i.name: i for i in plan.items}


@pytest.mark.parametrize(
    ("machine", "vlm", "recogniser", "fetched"),
    [
        (TINY, "none", "builtin", []),
        (LAPTOP_8, "smolvlm2-500m", "builtin", ["smolvlm2-500m"]),
        (LAPTOP, "smolvlm2-500m", "builtin", ["smolvlm2-500m"]),  # in float32, 2B needs 13.9 GB
        (SERVER, "qwen3-vl-2b", "builtin", ["qwen3-vl-2b"]),
        (MAC_16, "qwen3-vl-2b", "builtin", ["qwen3-vl-2b"]),
        (MAC_32, "qwen3-vl-4b", "builtin", ["qwen3-vl-4b"]),
        (GPU_6, "qwen3-vl-2b", "builtin", ["qwen3-vl-2b"]),
        (GPU_8, "qwen3-vl-4b", "builtin", ["qwen3-vl-4b"]),  # 6.3 GB and 2.5 GB are more than 8.2 GB
        (GPU_12, "qwen3-vl-8b", "dfn5b", ["qwen3-vl-8b", "dfn5b", "buffalo_l"]),
        (GPU_16, "qwen3-vl-8b", "dfn5b", ["qwen3-vl-8b", "dfn5b", "buffalo_l"]),
        (GPU_24, "qwen3-vl-8b", "dfn5b", ["qwen3-vl-8b", "dfn5b", "buffalo_l"]),
        (H200, "qwen3-vl-8b", "dfn5b", ["qwen3-vl-8b", "dfn5b", "buffalo_l"]),
    ],
)
def test_what_a_machine_gets(plan, machine, vlm, recogniser, fetched):
    made = plan(machine)
    assert (made.vlm, made.recogniser) == (vlm, recogniser)
    assert [i.name for i in made.to_fetch] == fetched


def test_the_number_format_follows_the_memory(plan):
    formats = {gb: by_name(plan(m))["qwen3-vl-8b"] for gb, m in ((12, GPU_12), (16, GPU_16), (24, GPU_24))}
    assert {gb: i.precision for gb, i in formats.items()} == {12: "nf4", 16: "int8", 24: "bfloat16"}
    assert formats[12].memory_gb < formats[16].memory_gb < formats[24].memory_gb
    assert by_name(plan(GPU_8))["qwen3-vl-4b"].reason == "fits: needs 6.3 GB GPU memory in nf4"
    assert by_name(plan(SERVER))["qwen3-vl-2b"].precision == "bfloat16"
    assert by_name(plan(LAPTOP))["smolvlm2-500m"].precision == "float32"
    assert by_name(plan(MAC_16))["qwen3-vl-2b"].precision == "float16"


def test_only_a_few_of_the_chat_vlms_are_told(plan):
    vlms = {"qwen3-vl-8b", "qwen3-vl-4b", "qwen3-vl-2b", "smolvlm2-500m", "llava-1.6", "minigpt-v2", "blip-2"}
    assert set(by_name(plan(GPU_24))) - {"builtin", "dfn5b", "buffalo_l"} == vlms
    there = plan(replace(GPU_24, on_disk=frozenset({"gemma-3-4b"})))
    assert (there.vlm, by_name(there)["gemma-3-4b"].reason) == ("gemma-3-4b", "on this disk")
    assert by_name(plan(GPU_24, vlm="internvl3.5-1b"))["internvl3.5-1b"].action == "fetch"


def test_quantised_weights_need_a_package(plan, monkeypatch):
    monkeypatch.setattr("engine.setup.reasons.formats_installed", lambda device: ())
    assert "qwen3-vl-4b is loaded in nf4, which needs: pip install 'myvlm[quantise]'" in plan(GPU_8).remarks
    monkeypatch.setattr("engine.setup.reasons.formats_installed", lambda device: ("int8", "nf4"))
    assert not any("pip install" in r for r in plan(GPU_8).remarks)
    assert not any("pip install" in r for r in plan(GPU_24).remarks)


def test_a_laptop_is_told_why(plan):
    made = plan(LAPTOP)
    items = by_name(made)
    assert items["builtin"].action == "use"
    assert items["dfn5b"].reason == "30,000 photos: 24 days"  # 14.1 TFLOP a photo at 200 GFLOP/s: 70 s
    assert items["llava-1.6"].reason == "needs 19.5 GB GPU memory"
    assert items["qwen3-vl-4b"].reason == "too slow without a GPU"
    assert items["smolvlm2-500m"].reason == "fits: needs 4.1 GB memory"
    assert made.remarks[0].startswith("smolvlm2-500m runs on the CPU, which is slow; how slow was not measured.")
    assert items["smolvlm2-500m"].speed is None
    assert made.defaults == {"recogniser": "builtin", "vlm": "smolvlm2-500m"}


def test_a_machine_with_little_memory_is_told_that_no_vlm_fits(plan):
    made = plan(TINY)
    assert made.remarks[0] == (
        "No sentences: no VLM fits into 2.0 GB, the share of memory that it may use (smolvlm2-500m, the smallest, needs"
        " 4.1 GB). Photos get names."
    )
    assert made.defaults == {"recogniser": "builtin"}


def test_apple_silicon_is_told_that_its_gpu_was_not_tried(plan):
    made = plan(MAC_16)
    assert made.remarks[0] == "qwen3-vl-2b runs on Apple's GPU, on which myvlm was not tried."
    assert by_name(made)["qwen3-vl-4b"].reason == "fits only in int8"
    assert "4 days" in by_name(made)["dfn5b"].reason


def test_an_nvidia_gpu_that_torch_cannot_use_is_told(plan):
    assert "torch cannot use the NVIDIA GPU" in plan(replace(TINY, unusable_gpu=True)).remarks[0]


def test_speeds_are_bounds_with_a_basis(plan):
    items = by_name(plan(H200))
    assert items["llava-1.6"].speed.photos_per_second == pytest.approx(27.8, rel=0.03)  # docs/experiments.md
    assert items["dfn5b"].speed.photos_per_second == pytest.approx(790 / 14.1)
    assert items["llava-1.6"].speed.at_most
    assert "measured on this GPU" in items["llava-1.6"].speed.source
    assert items["builtin"].speed is None or not items["builtin"].speed.at_most
    assert items["buffalo_l"].speed is None


def test_without_a_measurement_nothing_is_said_about_speed(plan):
    items = by_name(plan(replace(LAPTOP, gpu=Gpu("unknown", 24.0), cpu_gflops=None)))
    assert items["llava-1.6"].speed is items["dfn5b"].speed is None
    laptop = by_name(plan(replace(LAPTOP, cpu_gflops=None)))
    assert (laptop["dfn5b"].speed, laptop["dfn5b"].reason) == (None, "too slow without a CUDA GPU")


def test_a_vlm_on_the_disk_that_fits_needs_no_download(plan):
    made = plan(replace(GPU_24, on_disk=frozenset({"blip-2", "dfn5b", "buffalo_l"})))
    assert (made.vlm, made.to_fetch) == ("blip-2", ())
    assert by_name(made)["llava-1.6"].reason == "fits, too"


def test_a_vlm_on_the_disk_that_does_not_fit_is_named_and_not_used(plan):
    made = plan(replace(GPU_8, on_disk=frozenset({"llava-1.6"})))
    assert made.vlm == "qwen3-vl-4b"
    assert by_name(made)["llava-1.6"].reason == "on this disk, but needs 19.5 GB GPU memory"


def test_what_the_user_chooses_is_kept_with_a_remark_where_it_does_not_fit(plan):
    made = plan(LAPTOP, vlm="blip-2", recogniser="dfn5b")
    assert [i.name for i in made.to_fetch] == ["blip-2", "dfn5b", "buffalo_l"]
    assert "blip-2 does not fit: it needs 10.5 GB of GPU memory." in made.remarks
    assert plan(GPU_24, vlm="none").defaults == {"recogniser": "dfn5b", "vlm": "none"}
    assert plan(GPU_24, recogniser="builtin").recogniser == "builtin"


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"vlm": "storybook"}, "no VLM called 'storybook'"),
        ({"vlm": "someone/else"}, "no VLM called"),
        ({"vlm": "minigpt-v2"}, "cannot be fetched as a whole"),
        ({"recogniser": "storybook"}, "no recogniser called 'storybook'"),
        ({"recogniser": "dfn5b", "declined": ACCEPTED}, "licence was not accepted"),
        ({"vlm": "llava-1.6", "offered": frozenset({"blip-2"})}, "is not in that folder"),
    ],
)
def test_what_cannot_be_chosen(plan, choices, told):
    with pytest.raises(UsageError, match=told):
        plan(GPU_24, **choices)


def test_without_the_licence_of_its_face_pack_a_recogniser_is_left_out(plan):
    made = plan(GPU_24, declined=ACCEPTED)
    assert (made.recogniser, [i.name for i in made.to_fetch]) == ("builtin", ["qwen3-vl-8b"])
    assert by_name(made)["buffalo_l"].reason == "its licence was not accepted"
    assert by_name(made)["dfn5b"].reason == "not without the parts that were left out"


def test_a_folder_limits_what_can_be_had(plan):
    made = plan(GPU_24, offered=frozenset({"blip-2", "dfn5b"}))
    assert (made.vlm, made.recogniser) == ("blip-2", "builtin")
    assert [i.name for i in made.to_fetch] == ["blip-2"]


def test_this_machine(monkeypatch):
    """What is measured here is plausible, and is looked at without torch where there is no NVIDIA GPU."""
    made = measure_machine()
    assert made.cores >= 1
    assert made.free_gb > 0
    assert made.cpu_gflops > 1
    assert made.system in ("Linux", "macOS", "Windows")
    assert make_plan(made).recogniser


def test_a_machine_without_a_gpu_is_measured_without_torch():
    import subprocess
    import sys

    code = (
        "import engine.setup.machine as m; m.has_nvidia_gpu = lambda: False; m.measure_machine();"
        "import sys; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"
