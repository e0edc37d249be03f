"""The torch side of `bench`."""

from pathlib import Path

import numpy as np
import pytest

from gsvnet_engine import Bundle
from gsvnet_engine.bench import job
from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import Frame
from tests import toy_bundle


def test_each_frame_is_segmented_by_the_whole_network() -> None:
    side = job.torch_side(Bundle.open("street"), 1, None)
    frames = [Frame.from_rgb(np.full((90, 120, 3), 99, np.uint8), index=k) for k in range(2)]
    stages = list(side.frames(frames, 1))
    assert len(stages) == 2
    assert all(set(each) == {"prepare", "keyframe", "labels"} and min(each.values()) > 0 for each in stages)


def test_the_weights_must_be_the_bundles(tmp_path: Path) -> None:
    toy = Bundle.open(toy_bundle.write(tmp_path / "toy"))
    with pytest.raises(InputError, match="no such checkpoint of toy; name it with --checkpoint"):
        job.torch_side(toy, 1, None)
    street = Path(__file__).parents[2] / "export/checkpoints/street/keyframe.safetensors"
    with pytest.raises(InputError, match="has 11 classes and the bundle 4"):
        job.torch_side(toy, 1, street)
