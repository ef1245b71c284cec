"""The shipped fingerprints of weights are those of the files: they decide which stored features are valid."""

import json
from pathlib import Path

from engine.vision import config
from engine.vision.config import fingerprint, list_recognisers


def shipped_weights() -> dict[str, Path]:
    """Every source of shipped weights in the configs of recognisers, by its path there."""
    sources = [s for c in list_recognisers() for s in (c.encoder, c.detector, str(c.faces.folder)) if s]
    paths = [Path(s.removeprefix("local-dir:").removeprefix(config.ONNX)) for s in sources]
    places = {"builtin:": config.BUILTIN, "embedded:": config.STORYBOOK}
    return {
        f"{prefix}{path.relative_to(place).as_posix()}": path
        for prefix, place in places.items()
        for path in paths
        if path.is_relative_to(place)
    }


def test_shipped_fingerprints_are_those_of_the_files():
    """After new weights were built, write what this test computes into the file."""
    computed = {name: fingerprint(path) for name, path in sorted(shipped_weights().items())}
    assert len(computed) == 5
    assert json.loads(config._FINGERPRINTS.read_text()) == computed


def test_ids_of_recognisers_stay():
    """Stored heads and cached features hold them."""
    ids = {c.name: (c.id, c.faces_id) for c in list_recognisers()}
    assert ids["builtin"] == ("builtin:313112805bf4@208:grid", "faces:builtin-faces:5f813b531fed")
    assert ids["storybook"] == ("storybook:79bf4ac33b21:2ecf3573df00@0.4", "faces:storybook:73289ce9950f")


def test_weights_of_the_user_are_known_by_their_name(tmp_path):
    assert config._version(str(tmp_path / "my-detector")) == "my-detector"
    assert config._version("facebook/detr-resnet-50") == "facebook/detr-resnet-50"
