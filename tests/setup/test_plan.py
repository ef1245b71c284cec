"""Plans for described machines."""

from dataclasses import replace

import pytest

from engine.core.errors import UsageError
from engine.setup.machine import Gpu, Machine, measure_machine
from engine.setup.plan import Choices, make_plan
from engine.vision.config import find_recogniser, list_recognisers

LAPTOP = Machine("Linux", "x86_64", 4, 16.0, 200.0, cpu_gflops=200.0)
GPU_8 = replace(LAPTOP, gpu=Gpu("NVIDIA GeForce RTX 4060", 8.2, 60.0, 250.0))
GPU_12 = replace(LAPTOP, gpu=Gpu("NVIDIA GeForce RTX 3060", 12.6, 50.0, 330.0))
GPU_24 = replace(LAPTOP, gpu=Gpu("NVIDIA GeForce RTX 4090", 25.3, 160.0, 900.0))
H200 = replace(LAPTOP, gpu=Gpu("NVIDIA H200", 150.0, 790.0, 4800.0))
MAC_16 = Machine("macOS", "arm64", 8, 17.2, 100.0, cpu_gflops=1200.0)
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
        (LAPTOP, "none", "builtin", []),
        (MAC_16, "none", "builtin", []),
        (GPU_8, "none", "dfn5b", ["dfn5b", "buffalo_l"]),
        (GPU_12, "blip-2", "builtin", ["blip-2"]),  # 10.5 GB and 2.5 GB are more than 12.6 GB
        (GPU_24, "llava-1.6", "dfn5b", ["llava-1.6", "dfn5b", "buffalo_l"]),
        (H200, "llava-1.6", "dfn5b", ["llava-1.6", "dfn5b", "buffalo_l"]),
    ],
)
def test_what_a_machine_gets(plan, machine, vlm, recogniser, fetched):
    made = plan(machine)
    assert (made.vlm, made.recogniser) == (vlm, recogniser)
    assert [i.name for i in made.to_fetch] == fetched


def test_a_laptop_is_told_why(plan):
    made = plan(LAPTOP)
    items = by_name(made)
    assert items["builtin"].action == "use"
    assert items["dfn5b"].reason == "30,000 photos: 24 days"  # 14.1 TFLOP a photo at 200 GFLOP/s: 70 s
    assert items["llava-1.6"].reason == "needs 19.5 GB GPU memory"
    assert made.remarks[0] == (
        "No sentences: VLMs need a CUDA GPU (blip-2, the smallest, needs 10.5 GB). Photos get names."
    )
    assert made.defaults == {"recogniser": "builtin"}


def test_an_8_gb_gpu_is_told_that_no_vlm_fits(plan):
    assert plan(GPU_8).remarks[0].startswith("No sentences: no VLM fits into 8 GB of GPU memory (blip-2, the smallest")


def test_apple_silicon_is_told_that_only_cuda_is_used(plan):
    made = plan(MAC_16)
    assert "Apple's is not used" in made.remarks[0]
    assert "4 days" in by_name(made)["dfn5b"].reason


def test_an_nvidia_gpu_that_torch_cannot_use_is_told(plan):
    assert "torch cannot use the NVIDIA GPU" in plan(replace(LAPTOP, unusable_gpu=True)).remarks[0]


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
    assert made.vlm == "none"
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
    assert (made.recogniser, [i.name for i in made.to_fetch]) == ("builtin", ["llava-1.6"])
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
