"""Which models are in use, and why: option, then config.toml, then what is on disk and fits, then built in."""

import pytest

from engine.chosen_models import ChosenModels, ModelOptions
from engine.core.config_file import config_path, write_value
from engine.core.errors import ConfigError, NoVlmError, UsageError, WeightsMissingError
from engine.defaults import Origin, Setting, set_default
from engine.vision.config import DEFAULT_RECOGNISER
from engine.vlms.find import find_config
from tests.tiny_llava import save_tiny_llava


def choose(folder, gpu_gb=0.0, **options):
    models = ChosenModels(ModelOptions(**options), folder)
    models.__dict__["gpu_gb"] = gpu_gb  # in place of this machine's
    return models


@pytest.fixture
def on_disk(empty_hub):
    """LLaVA-1.6 is in the hub's cache: a tiny one, at the place and with the facts of the real one."""
    repo = empty_hub / "models--llava-hf--llava-v1.6-vicuna-7b-hf"
    revision = find_config("llava-1.6").revision
    save_tiny_llava(repo / "snapshots" / "0123456")
    (repo / "refs").mkdir()
    (repo / "refs" / revision).write_text("0123456")


def test_in_a_fresh_folder_there_is_no_vlm(bare_home):
    models = choose(bare_home, gpu_gb=80.0)
    assert models.vlm_setting == Setting("vlm", "none", Origin.BUILT_IN)
    assert models.recogniser_setting == Setting("recogniser", DEFAULT_RECOGNISER, Origin.BUILT_IN)
    assert (models.setting("device").value, models.setting("dtype").value) == ("auto", "auto")
    assert models.why_no_vlm == "no VLM for real photos is on this machine"
    assert models.vlm_config.identifiers == find_config("llava-1.6").identifiers == find_config("blip-2").identifiers
    with pytest.raises(NoVlmError) as caught:
        models.check_has_vlm()
    assert caught.value.hint == "Run: myvlm setup"
    assert not bare_home.exists()


def test_an_option_wins_over_config_toml_which_wins_over_the_disk(bare_home, on_disk):
    assert choose(bare_home, 24.0).vlm_setting == Setting("vlm", "llava-1.6", Origin.ON_DISK)
    for key, value in (("vlm", "blip-2"), ("recogniser", "dfn5b"), ("device", "cpu"), ("dtype", "float16")):
        write_value(bare_home, key, value)
        assert choose(bare_home, 24.0).setting(key) == Setting(key, value, Origin.CONFIG)
        option = "auto" if key in ("device", "dtype") else "storybook"
        assert choose(bare_home, 24.0, **{key: option}).setting(key) == Setting(key, option, Origin.OPTION)


def test_a_vlm_that_does_not_fit_is_named_and_no_other_takes_its_place(bare_home, on_disk):
    for gpu_gb, here in ((8.0, "this GPU has 8 GB"), (0.0, "no CUDA GPU is in use here")):
        models = choose(bare_home, gpu_gb)
        assert not models.has_vlm
        assert models.why_no_vlm == f"llava-1.6 is on this disk, but needs 19.5 GB of GPU memory, and {here}"
    assert choose(bare_home, 8.0, vlm="llava-1.6").vlm_config.name == "llava-1.6"
    write_value(bare_home, "vlm", "llava-1.6")
    assert choose(bare_home, 8.0).vlm_setting == Setting("vlm", "llava-1.6", Origin.CONFIG)


def test_only_a_storybook_brings_a_recogniser(bare_home):
    belonging = Setting("recogniser", "storybook", Origin.VLM)
    assert choose(bare_home, vlm="storybook-blip2").recogniser_setting == belonging
    assert choose(bare_home, vlm="llava-1.6").recogniser_setting.origin is Origin.BUILT_IN
    assert choose(bare_home, vlm="storybook", recogniser="dfn5b").recogniser_config.name == "dfn5b"
    write_value(bare_home, "vlm", "storybook")
    assert choose(bare_home).recogniser_setting == belonging
    assert choose(bare_home, vlm="none").recogniser_setting.origin is Origin.BUILT_IN
    write_value(bare_home, "recogniser", "dfn5b")
    assert choose(bare_home).recogniser_config.name == "dfn5b"


def test_why_there_is_no_vlm_depends_on_who_said_so(bare_home):
    asked = choose(bare_home, vlm="none")
    with pytest.raises(UsageError, match="--vlm none asks for none"):
        asked.check_has_vlm()
    write_value(bare_home, "vlm", "none")
    configured = choose(bare_home)
    with pytest.raises(NoVlmError, match=r"config\.toml asks for none") as caught:
        configured.check_has_vlm()
    assert "myvlm config unset vlm" in caught.value.hint
    assert (asked.why_no_vlm, configured.why_no_vlm) == ("", "")


def test_weights_that_are_missing_are_said_to_be_config_tomls_choice(bare_home):
    with pytest.raises(WeightsMissingError) as of_option:
        choose(bare_home, vlm="llava-1.6").check_weights()
    write_value(bare_home, "vlm", "llava-1.6")
    with pytest.raises(WeightsMissingError) as of_config:
        choose(bare_home).check_weights()
    path = str(config_path(bare_home))
    assert (path in str(of_option.value), path in str(of_config.value)) == (False, True)
    assert all("myvlm models pull llava-1.6" in e.value.hint for e in (of_option, of_config))


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("vlm", "no-such-vlm", lambda m: m.vlm_config),
        ("vlm", "no-such-vlm", lambda m: m.recogniser_config),
        ("vlm", "llava-1.6+tiny", lambda m: m.vlm_config),
        ("recogniser", "no-such-one", lambda m: m.recogniser_config),
    ],
)
def test_a_name_that_nothing_has_is_an_error_about_config_toml(bare_home, key, value, read):
    write_value(bare_home, key, value)
    with pytest.raises(ConfigError, match=rf"config\.toml: {key}: ") as caught:
        read(choose(bare_home))
    assert "llava-1.6" in caught.value.hint or "dfn5b" in caught.value.hint or "paper" in caught.value.hint
    with pytest.raises(UsageError):
        read(choose(bare_home, **{key: value}))


def test_set_default_checks_names_and_stores_whole_paths(bare_home, tmp_path, monkeypatch):
    folder = save_tiny_llava(tmp_path / "own-vlm")
    monkeypatch.chdir(tmp_path)
    assert set_default(bare_home, "vlm", "own-vlm").value == str(folder)
    assert set_default(bare_home, "vlm", "own-vlm+paper").value == f"{folder}+paper"
    assert choose(bare_home).vlm_config.variant == "+paper"
    assert set_default(bare_home, "vlm", "none") == Setting("vlm", "none", Origin.CONFIG)
    assert set_default(bare_home, "hierarchy", value=True).value is True
    before = config_path(bare_home).read_bytes()
    for key, value in (("vlm", "no-such-vlm"), ("recogniser", "no-such-one"), ("colour", "red"), ("hierarchy", "no")):
        with pytest.raises(UsageError):
            set_default(bare_home, key, value)
    assert config_path(bare_home).read_bytes() == before


def test_every_key_has_a_setting(bare_home):
    write_value(bare_home, "regions", "people")
    settings = {s.key: s for s in choose(bare_home).settings}
    assert settings["regions"] == Setting("regions", "people", Origin.CONFIG)
    assert settings["sidecar-dir"] == Setting("sidecar-dir", None, Origin.BUILT_IN)
    assert all(s.origin.text for s in settings.values())
