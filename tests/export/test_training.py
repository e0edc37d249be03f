"""Training end to end on tiny data: files, resuming, exporting what came out; and that a flow network learns motion."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gsvnet_engine.errors import InputError, OutputError, UsageError
from gsvnet_engine.geometry import Geometry, Scaled, ShortSide
from gsvnet_export.bundles import ExportOptions, export_bundle, load_keyframe, load_propagation
from gsvnet_export.data.datasets import load_labelled
from gsvnet_export.data.stills import IGNORE, Still, Stills
from gsvnet_export.networks import build_keyframe
from gsvnet_export.networks.propagation import FlowNetwork, Propagation, PropagationConfig
from gsvnet_export.training import keyframe, loop, propagation, soup, windows
from gsvnet_export.training.augment import other_weather, random_view
from gsvnet_export.training.camera import CameraPath, MovedStill, SceneClasses, camera_path, closeness
from gsvnet_export.training.crossing import CrossedStill, crossing, cut_from
from gsvnet_export.training.windows import ReferenceFlow, Windows, load_windows
from tests.export.datasets import write_camvid, write_clip

GEOMETRY = Geometry(working=ShortSide(96), keyframe=Scaled((1, 2), 8))
OPTIONS = ExportOptions(name="tiny", geometry=GEOMETRY, license="CC0-1.0", reference_size=(96, 128))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_camvid(tmp_path_factory.mktemp("data"))
    (root / "clips").mkdir()
    write_clip(root / "clips/road.mp4")
    return root


@pytest.fixture(scope="module")
def runs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `keyframe` and `propagation` with the checkpoints of two smoke runs."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = replace(keyframe.PRESETS["smoke"], steps=4, crop=(48, 64))
    keyframe.train_keyframe(folder / "keyframe", recipe, load_labelled("camvid", root))
    checkpoint = folder / "keyframe/checkpoint.safetensors"
    windows = load_windows(root, checkpoint, load_keyframe(checkpoint)[0], GEOMETRY, folder / "cache", True)
    recipe_ = replace(propagation.PRESETS["smoke"], steps=3, crop=(8, 12))
    propagation.train_propagation(folder / "propagation", recipe_, 11, windows)
    return folder


def test_a_run_leaves_its_record(runs: Path) -> None:
    for kind, measure in (("keyframe", "slice_miou"), ("propagation", "agreement")):
        folder = runs / kind
        assert {p.name for p in folder.iterdir()} >= {"config.json", "metrics.jsonl", "curve.png"}
        assert not (folder / "resume.pt").exists()
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        assert np.isfinite(last["loss"]) and 0 <= last[measure] <= 100
        _, config = loop.load_checkpoint(folder / "checkpoint.safetensors")
        assert config["kind"] == kind and config["steps_done"] == last["step"]
        assert json.loads((folder / "config.json").read_text()).items() <= config.items()


def test_exported_bundle_is_what_was_trained(runs: Path, tmp_path: Path) -> None:
    paths = [runs / kind / "checkpoint.safetensors" for kind in ("keyframe", "propagation")]
    bundle, measured = export_bundle(paths[0], paths[1], tmp_path / "tiny", OPTIONS)
    assert measured.labels_different <= 5e-4
    assert [c.name for c in bundle.manifest.classes][:2] == ["Sky", "Building"]
    assert any("CamVid" in source for source in bundle.manifest.trained_on)
    assert bundle.manifest.cost is not None and bundle.manifest.cost.parameters["propagate"] > 300_000

    first = {p.name: p.read_bytes() for p in (tmp_path / "tiny").iterdir()}
    (tmp_path / "tiny/MODEL_CARD.md").write_text("ours")
    with pytest.raises(OutputError, match="--force"):
        export_bundle(paths[0], paths[1], tmp_path / "tiny", OPTIONS)
    export_bundle(paths[0], paths[1], tmp_path / "tiny", OPTIONS, force=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "tiny").iterdir()} == first | {
        "MODEL_CARD.md": b"ours"
    }


def test_wrong_checkpoints_are_named(runs: Path, tmp_path: Path) -> None:
    keyframe_path, propagation_path = (
        runs / k / "checkpoint.safetensors" for k in ("keyframe", "propagation")
    )
    with pytest.raises(InputError, match="give one of `train keyframe`"):
        load_keyframe(propagation_path)
    with pytest.raises(InputError, match="give one of `train propagation`"):
        load_propagation(keyframe_path)
    (tmp_path / "bad.safetensors").write_bytes(b"0" * 100)
    for path in (tmp_path / "bad.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(InputError, match=path.name):
            load_keyframe(path)


def test_the_mean_of_checkpoints(runs: Path, tmp_path: Path) -> None:
    """Weighed, of networks of one form alone; it loads and says what it is made of."""
    given = runs / "propagation" / "checkpoint.safetensors"
    state, config = loop.load_checkpoint(given)
    other = tmp_path / "other.safetensors"
    loop.save_state(other, {n: v + 1 if v.is_floating_point() else v for n, v in state.items()}, config)
    soup.average([given, other], tmp_path / "mean.safetensors", [3, 1])
    network, described = load_propagation(tmp_path / "mean.safetensors")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(
            value, state[name] + 0.25 if value.is_floating_point() else state[name], rtol=0, atol=1e-5
        )
    assert [each["weight"] for each in described["mean_of"]] == [0.75, 0.25]
    with pytest.raises(UsageError, match=r"checkpoint\.safetensors: is no other training of .*its kind"):
        soup.average([other, runs / "keyframe" / "checkpoint.safetensors"], tmp_path / "no.safetensors")
    for paths, weights in (([given], None), ([given, other], [1.0]), ([given, other], [1.0, -1.0])):
        with pytest.raises(UsageError, match="two checkpoints or more"):
            soup.average(paths, tmp_path / "no.safetensors", weights)
    assert not (tmp_path / "no.safetensors").exists()


def test_drives_alike_gives_each_drive_as_many_views(root: Path) -> None:
    data = load_labelled("camvid", root)
    names, picture = ["a_1", "a_2", "a_3", "b_1"], data.train[0]
    seen: list[str] = []

    def still(name: str) -> Still:
        def read() -> tuple[np.ndarray, np.ndarray]:
            seen.append(name)
            return picture

        return Still(name, read)

    data = replace(data, train=Stills([still(name) for name in names], keep=False), auxiliary=None)
    recipe = replace(keyframe.PRESETS["smoke"], crop=(16, 16), batch=300)
    for alike, of_b in ((False, 0.25), (True, 0.5)):
        seen.clear()
        keyframe.draw(0, replace(recipe, drives_alike=alike), data)
        assert len(seen) == 300 and set(seen) == set(names)
        assert abs(seen.count("b_1") / 300 - of_b) < 0.1


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(root: Path, tmp_path: Path) -> None:
    data = load_labelled("camvid", root)
    recipe = replace(keyframe.PRESETS["smoke"], steps=6, crop=(32, 32), trunk="resnet18")
    whole = keyframe.train_keyframe(tmp_path / "whole", recipe, data).state_dict()

    class StoppedError(Exception):
        pass

    draw, save_every = keyframe.draw, loop.LoopOptions.__dataclass_fields__["save_every"].default
    assert save_every == 100

    def draw_until_three(step: int, *rest: object) -> keyframe.Batch:
        if step == 3:
            raise StoppedError
        return draw(step, *rest)  # type: ignore[arg-type]

    options = loop.LoopOptions

    def often(**values: object) -> loop.LoopOptions:
        return options(**(values | {"save_every": 1}))  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyframe, "LoopOptions", often)
        patch.setattr(keyframe, "draw", draw_until_three)
        with pytest.raises(StoppedError):
            keyframe.train_keyframe(tmp_path / "parts", recipe, data)
    with pytest.raises(UsageError, match="--resume"):
        keyframe.train_keyframe(tmp_path / "parts", recipe, data)
    with pytest.raises(UsageError, match="other settings"):
        keyframe.train_keyframe(tmp_path / "parts", replace(recipe, lr=1.0), data, resume=True)
    resumed = keyframe.train_keyframe(tmp_path / "parts", recipe, data, resume=True).state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-4, atol=1e-5, msg=name)


def learn_a_line(
    folder: Path, *, stop: int | None = None, width: int = 1, lr: float = 0.01, **more: Any
) -> torch.nn.Module:
    """100 steps of a small network, saved after 40 and 80; `stop`: the step before which the run is killed."""

    def batch_at(step: int) -> torch.Tensor:
        if step == stop:
            raise KeyboardInterrupt
        return torch.linspace(-1, 1, 4)[:, None] + step / 100

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.Linear(width, 1))
    return loop.train(
        folder,
        model,
        {"lr": lr},
        torch.optim.AdamW(model.parameters(), lr=lr),
        lambda batch: (model(batch) - 2 * batch).square().mean(),
        batch_at,
        lambda ema: {},
        loop.LoopOptions(steps=100, lr_at=lambda step: 1.0, ema=0.9, save_every=40),
        **more,
    )


def measurements(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    first = learn_a_line(tmp_path).state_dict()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = learn_a_line(tmp_path, resume=True, say=said.append).state_dict()
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert said == [f"{tmp_path}: its 100 steps are done already; to train anew, name another folder"]
    with pytest.raises(UsageError, match="other settings"):
        learn_a_line(tmp_path, resume=True, lr=0.1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_record_of_a_resumed_run_is_that_of_a_whole_one(tmp_path: Path) -> None:
    learn_a_line(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learn_a_line(tmp_path / "parts", stop=75)
    before = measurements(tmp_path / "parts")
    assert [row["step"] for row in before] == [20, 40, 60]
    with (tmp_path / "parts/metrics.jsonl").open("a") as file:
        file.write('{"step": 8')  # a full disk
    learn_a_line(tmp_path / "parts", resume=True)
    rows = measurements(tmp_path / "parts")
    assert [row["step"] for row in rows] == [20, 40, 60, 80, 100] and rows[:2] == before[:2]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    for row, expected in zip(rows, measurements(tmp_path / "whole"), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@contextmanager
def own_interrupts() -> Iterator[None]:
    """Ctrl-C as at a terminal: a shell's background job is born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interruption_loses_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a step, whose weights are half changed at that moment."""
    learn_a_line(tmp_path / "whole")
    follow, calls = loop._follow, 0

    def follow_and_interrupt(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 30:
            signal.raise_signal(signal.SIGINT)
        follow(*arguments)

    said: list[str] = []
    monkeypatch.setattr(loop, "_follow", follow_and_interrupt)
    with own_interrupts(), pytest.raises(KeyboardInterrupt):
        learn_a_line(tmp_path / "parts", say=said.append)
    assert said == [f"{tmp_path / 'parts'}: 30 of 100 steps are done and saved; --resume goes on from there"]
    _, config = loop.load_checkpoint(tmp_path / "parts/checkpoint.safetensors")
    assert config["steps_done"] == 30
    learn_a_line(tmp_path / "parts", resume=True)
    assert calls == 100
    expected, _ = loop.load_checkpoint(tmp_path / "whole/checkpoint.safetensors")
    for name, value in loop.load_checkpoint(tmp_path / "parts/checkpoint.safetensors")[0].items():
        torch.testing.assert_close(value, expected[name])
    rows = measurements(tmp_path / "parts")
    for row, whole in zip(rows, measurements(tmp_path / "whole"), strict=True):
        assert row["step"] == whole["step"] and row["loss"] == pytest.approx(whole["loss"], rel=1e-5)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file can be made longer than `room` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("capsys")  # or what the bar says would be in a file, too
def test_a_full_disk_is_one_line_and_the_run_goes_on_afterwards(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    learn_a_line(whole, width=1000)
    with pytest.raises(KeyboardInterrupt):
        learn_a_line(parts, width=1000, stop=45)
    before = {path.name: path.read_bytes() for path in parts.iterdir() if path.name != "metrics.jsonl"}
    for room in (1, 200, 1000):
        with full_disk(room), pytest.raises(OutputError, match=r"parts: cannot be written \(.*make room, or"):
            learn_a_line(parts, width=1000, resume=True)
        assert {p.name: p.read_bytes() for p in parts.iterdir() if p.name != "metrics.jsonl"} == before
    learn_a_line(parts, width=1000, resume=True)
    expected, _ = loop.load_checkpoint(whole / "checkpoint.safetensors")
    for name, value in loop.load_checkpoint(parts / "checkpoint.safetensors")[0].items():
        torch.testing.assert_close(value, expected[name])


def test_the_cache_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[np.ndarray]]:
        yield (np.zeros(1000),)

    with full_disk(500), pytest.raises(OutputError, match=r"cannot be written \(.*make room, or"):
        windows._kept(tmp_path, "clip", ("scores",), rows)
    assert not list(tmp_path.iterdir())


def test_what_was_edited_since_is_cached_anew(tmp_path: Path) -> None:
    root = write_camvid(tmp_path)
    checkpoint, network = tmp_path / "checkpoint", torch.nn.Conv2d(3, 5, 1)
    checkpoint.write_bytes(b"any")
    (root / "clips").mkdir()
    write_clip(root / "clips/road.mp4")

    def load() -> Windows:
        return load_windows(root, checkpoint, network, GEOMETRY, tmp_path / "cache", True)

    load()
    kept = set((tmp_path / "cache").iterdir())
    load()
    assert set((tmp_path / "cache").iterdir()) == kept
    for path in (root / "camvid/train/labels").iterdir():
        cv2.imwrite(str(path), np.full((48, 64), 5, np.uint8))
    stat = (root / "clips/road.mp4").stat()
    os.utime(root / "clips/road.mp4", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    found = load()
    assert found.stills is not None and set(np.unique(found.stills[0][2])) <= {5, IGNORE}
    assert len(list((tmp_path / "cache").glob("road-*.pictures.npy"))) == 2


@pytest.mark.parametrize("damaged", [b"", b"junk", None])
def test_a_cut_file_of_the_cache_is_made_anew(damaged: bytes | None, tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[np.ndarray]]:
        yield (np.arange(300),)

    windows._kept(tmp_path, "clip", ("scores",), rows)
    path = tmp_path / "clip.scores.npy"
    path.write_bytes(path.read_bytes()[:-100] if damaged is None else damaged)
    (kept,) = windows._kept(tmp_path, "clip", ("scores",), rows)
    assert kept.tolist() == [list(range(300))]


def test_damaged_settings_of_a_run_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"kind": ')
    with pytest.raises(InputError, match=r"config\.json: cannot be read \(.*another folder"):
        learn_a_line(tmp_path, resume=True)


@pytest.mark.parametrize("keep", [0, 100])
def test_a_damaged_state_of_a_run_is_named(keep: int, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        learn_a_line(tmp_path, stop=75)
    state = tmp_path / "resume.pt"
    state.write_bytes(state.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"resume\.pt: cannot be read \(.*checkpoint\.safetensors beside it"):
        learn_a_line(tmp_path, resume=True)


def test_runs_that_share_a_cache_may_fill_it_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is through while the other still writes the same file."""
    save = np.save

    def rows() -> Iterator[tuple[np.ndarray]]:
        yield (np.arange(3),)

    def save_before_the_other_run(file: Any, array: np.ndarray) -> None:
        monkeypatch.setattr(np, "save", save)
        save(file, array)
        windows._kept(tmp_path, "clip", ("scores",), rows)

    monkeypatch.setattr(np, "save", save_before_the_other_run)
    (kept,) = windows._kept(tmp_path, "clip", ("scores",), rows)
    assert kept.tolist() == [[0, 1, 2]]
    assert [path.name for path in tmp_path.iterdir()] == ["clip.scores.npy"]


def test_clips_too_short_for_a_window_are_left_out(tmp_path: Path) -> None:
    checkpoint, cache, said = tmp_path / "checkpoint", tmp_path / "cache", list[str]()
    checkpoint.write_bytes(b"any")
    network = torch.nn.Conv2d(3, 5, 1)
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips/short.mp4", frames=9)
    with pytest.raises(InputError, match="no clip has the 10 frames"):
        load_windows(tmp_path, checkpoint, network, GEOMETRY, cache, False)
    write_clip(tmp_path / "clips/long.mp4", frames=10)
    found = load_windows(tmp_path, checkpoint, network, GEOMETRY, cache, False, said.append)
    assert [clip.name for clip in found.clips] == ["long"] and "short" not in str(found.description)
    assert said == ["skipped: short: 9 frames; at least 10 are needed"]
    rest, _ = propagation.held_out_tail(found.clips)
    recipe = replace(propagation.PRESETS["smoke"], crop=(8, 12))
    for step in range(8):
        assert propagation.draw(step, recipe, rest, None).pictures.shape[1] == recipe.batch


def test_stills_that_no_cell_divides_are_refused_before_the_teacher_runs(root: Path, tmp_path: Path) -> None:
    geometry, checkpoint = replace(GEOMETRY, working=ShortSide(100)), tmp_path / "none"
    with pytest.raises(UsageError, match=r"64x48 pixels on a grid of 17x13: .* --short-side .* --no-stills"):
        load_windows(root, checkpoint, torch.nn.Identity(), geometry, tmp_path / "cache", True)
    assert not (tmp_path / "cache").exists()


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path, pf = tmp_path / "other.safetensors", Propagation(PropagationConfig(classes=3))
    recipe = {"network": "swiftnet", "trunk": "resnet18"}
    config: dict[str, Any] = {"kind": "keyframe", "recipe": recipe, "classes": 5}
    loop.save_checkpoint(path, build_keyframe("swiftnet", "resnet18", 3), config)
    with pytest.raises(InputError, match=r"other.safetensors does not fit SwiftNet: .*`train keyframe`"):
        load_keyframe(path)
    config = {"kind": "propagation", "network": pf.describe() | {"classes": 5}}
    loop.save_checkpoint(path, pf, config)
    with pytest.raises(
        InputError, match=r"other.safetensors does not fit Propagation: .*`train propagation`"
    ):
        load_propagation(path)
    smoke, nothing = (
        propagation.PRESETS["smoke"],
        Windows(clips=[], stills=None, held_out_stills=None, description={}),
    )
    with pytest.raises(InputError, match=r"does not fit Propagation: .* for the same 19 classes"):
        propagation.train_propagation(tmp_path / "run", smoke, 19, nothing, path)


def test_random_views_keep_picture_and_labels_together() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 30:60] = 7
    image = np.repeat((labels * 30)[..., None], 3, 2).astype(np.uint8)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        picture, view = random_view(image, labels, rng, (48, 64), (0.6, 2.0), colour=0.0)
        assert picture.shape == (3, 48, 64) and view.shape == (48, 64)
        known = view != 255
        assert (np.abs(picture[0] * 255 / 30 - view) > 3.4)[known].mean() < 0.05  # edges alone may differ


def test_another_sky_changes_the_sky_alone() -> None:
    labels = np.full((60, 80), 3, np.uint8)
    labels[:25] = 0
    image = np.full((60, 80, 3), 128, np.uint8)
    views = [
        random_view(image, labels, np.random.default_rng(s), (60, 80), (1, 1), 0.0, sky=0) for s in range(4)
    ]
    for picture, view in views:
        np.testing.assert_allclose(picture[:, view != 0], 128 / 255, atol=1e-6)
        assert picture[:, view == 0].std() > 0.01
        assert picture.min() >= 0 and picture.max() <= 1


def test_markings_brighten_the_road_alone() -> None:
    labels = np.full((60, 80), 3, np.uint8)
    labels[:25] = 0
    image = np.full((60, 80, 3), 60, np.uint8)
    marked = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        picture, view = random_view(image, labels, rng, (60, 80), (1, 1), 0.0, road=3)
        np.testing.assert_allclose(picture[:, view != 3], 60 / 255, atol=1e-6)
        assert picture.min() >= 60 / 255 - 1e-6 and picture.max() <= 1
        marked.append((picture[0] > 70 / 255).mean())
    assert sum(share > 0.002 for share in marked) >= 6 and max(marked) < 0.5


def test_a_shadow_darkens_a_part() -> None:
    labels = np.zeros((60, 80), np.uint8)
    image = np.full((60, 80, 3), 200, np.uint8)
    for seed in range(8):
        picture, _ = random_view(
            image, labels, np.random.default_rng(seed), (60, 80), (1, 1), 0.0, shadow=True
        )
        assert picture.max() <= 200 / 255 + 1e-6 and 0.29 * 200 / 255 < picture.min() < 0.85 * 200 / 255


def street_still() -> tuple[np.ndarray, np.ndarray]:
    """A road under a sky with a building beside it, a car and a pole on it: [120,160,3], [120,160] in NAMES' ids."""
    labels = np.zeros((120, 160), np.uint8)
    labels[60:] = 1
    labels[20:66, 100:] = 2
    labels[70:90, 40:70] = 3
    labels[30:84, 84:87] = 4
    texture = cv2.GaussianBlur(np.random.default_rng(0).random((120, 160, 3)).astype(np.float32), (0, 0), 2)
    texture = cv2.normalize(texture, np.empty(0), 0, 50, cv2.NORM_MINMAX)
    return (texture + labels[..., None] * 40).astype(np.uint8), labels


NAMES = ("Sky", "Road", "Building", "Car", "Pole")


def test_closeness_follows_the_ground_that_things_stand_on() -> None:
    _, labels = street_still()
    close = closeness(labels, SceneClasses.of(NAMES))
    assert (close[5] == 0).all() and (close >= 0).all()
    ground = close[60:, 20]
    assert (np.diff(ground) >= 0).all() and ground[-1] > 4 * ground[0] > 0
    np.testing.assert_allclose(
        close[75, 55], close[92, 20], rtol=0.1
    )  # the car: as near as the road under its wheels
    np.testing.assert_allclose(close[40, 85], close[85, 20], rtol=0.1)  # all of the pole: as near as its foot
    assert close[30, 130] < close[75, 55]  # the building: farther than the car


@pytest.mark.parametrize("drive", [False, True])
def test_moved_stills_have_exact_labels_and_motion(drive: bool) -> None:
    image, labels = street_still()
    rng = np.random.default_rng(1)
    path = camera_path(labels.shape, 4, rng, drive=drive)
    if drive:
        path = CameraPath(maps=path.maps, driven_m=(0.0, 0.5, 1.0, 1.5))
    moved = MovedStill(image, labels, path, SceneClasses.of(NAMES), rng)
    views = [moved.view(k) for k in range(4)]
    rows, columns = np.indices(labels.shape, np.float32)
    for k in (1, 2, 3):
        (before, _), (picture, seen) = views[k - 1 : k + 1]
        known = seen != IGNORE
        assert known.mean() > 0.6
        assert (np.abs(picture.mean(2) // 40 - seen) > 0.5)[known].mean() < 0.12  # between classes alone
        flow = moved.flow(k, labels.shape)
        assert np.nanmax(np.abs(flow)) > 0.5
        carried = cv2.remap(before, columns + flow[0], rows + flow[1], cv2.INTER_LINEAR)
        inside = known & np.isfinite(flow).all(0)
        inside[:6] = inside[-6:] = inside[:, :6] = inside[:, -6:] = False
        error = np.abs(carried.astype(float) - picture)[inside].mean()
        assert error < 0.5 * np.abs(before.astype(float) - picture)[inside].mean()
    if not drive:  # one smooth motion: coarse cells see its mean
        flow, coarse = moved.flow(2, labels.shape), moved.flow(2, (12, 16))
        shrunk = [cv2.resize(f, (16, 12), interpolation=cv2.INTER_AREA) / 10 for f in flow]
        np.testing.assert_allclose(coarse, shrunk, atol=0.02)


def test_things_that_cross_have_exact_labels_and_motion() -> None:
    image, labels = street_still()
    stills = Stills([Still("street", lambda: (image, labels))], keep=True)
    rng = np.random.default_rng(2)
    still = MovedStill(
        np.full_like(image, 90),
        np.full_like(labels, 1),
        CameraPath(maps=(np.eye(3),) * 4, driven_m=(0.0,) * 4),
        SceneClasses.of(NAMES),
        rng,
    )
    seen_moving = 0
    for _ in range(6):
        cut = cut_from(stills, [3], rng)
        assert cut is not None and cut.label == 3 and cut.mask.shape == (22, 32)
        moved = CrossedStill(still, [crossing(cut, (120, 160), (np.eye(3),) * 4, rng)])
        views = [moved.view(k) for k in range(4)]
        assert any((seen == 3).any() for _, seen in views)
        rows, columns = np.indices(labels.shape, np.float32)
        for k in (1, 2, 3):
            (before, where), (picture, seen) = views[k - 1 : k + 1]
            flow = moved.flow(k, (120, 160))
            elsewhere = cv2.dilate((seen == 3).astype(np.uint8), np.ones((3, 3))) == 0
            assert (flow[:, elsewhere] == 0).all()  # all else stands still
            came_from = cv2.remap(
                where, columns + flow[0], rows + flow[1], cv2.INTER_NEAREST, borderValue=(3,)
            )
            inner = cv2.erode((seen == 3).astype(np.uint8), np.ones((5, 5))) > 0
            assert (came_from[inner] == 3).all()
            carried = cv2.remap(before, columns + flow[0], rows + flow[1], cv2.INTER_LINEAR)
            inside = inner & (columns + flow[0] > 1) & (columns + flow[0] < 158) & (rows + flow[1] < 118)
            if inside.any():
                assert np.abs(carried.astype(float) - picture)[inside].mean() < 4
                seen_moving += int(np.abs(flow[:, inside]).max() > 1)
    assert seen_moving >= 3
    assert cut_from(stills, [4], rng) is not None  # the pole stands free
    assert cut_from(stills, [2], rng) is None  # the building is cut off by the picture's edge
    assert cut_from(stills, [], rng) is None


def test_other_weather_paints_sky_and_road_and_darkens_the_rest() -> None:
    image, labels = street_still()
    sky, road = labels == 0, labels == 1
    painted = marked = shaded = 0
    for seed in range(12):
        seen = other_weather(image, sky, road, np.random.default_rng(seed))
        again = other_weather(image, sky, road, np.random.default_rng(seed))
        assert seen.shape == image.shape and seen.dtype == np.uint8 and (seen == again).all()
        rest = ~sky & ~road
        assert (seen[rest] <= image[rest]).all()
        painted += int((seen[sky] > image[sky]).any())
        marked += int((seen[road] > image[road]).any())
        shaded += int((seen[rest] < image[rest]).any())
    assert 0 < painted < 12 and 0 < marked < 12 and 0 < shaded < 12


def test_near_things_move_faster_than_far_ones() -> None:
    image, labels = street_still()
    still = (np.eye(3),) * 2
    path, rng = CameraPath(maps=still, driven_m=(0.0, 1.0)), np.random.default_rng(4)
    moved = MovedStill(image, labels, path, SceneClasses(ground=(1,), sky=(0,), movers=()), rng)
    speed = np.hypot(*moved.flow(1, labels.shape))
    assert np.nanmax(speed[:15]) == 0  # the sky
    assert np.nanmedian(speed[110]) > 3 * np.nanmedian(speed[65])  # the road, near and far


def test_reference_flow_sees_a_shift_and_knows_where_it_does_not() -> None:
    rng = np.random.default_rng(0)
    noise = rng.random((192, 320, 3)).astype(np.float32)
    wide = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), np.empty(0), 0, 1, cv2.NORM_MINMAX)
    motion, grid = ReferenceFlow(), (16, 24)
    for k in range(
        3
    ):  # the view moves 3 right and 1 down a frame, so things came from the right and from below
        view = wide[16 + k : 144 + k, 32 + 3 * k : 224 + 3 * k]
        flows = motion.push(np.ascontiguousarray(view.transpose(2, 0, 1)), grid).astype(np.float32)
        assert flows.shape == (2, 2, *grid)
        for index, stride in enumerate((1, 2)):
            if stride > k:
                assert np.isnan(flows[index]).all()
            else:
                inner = flows[index][:, 2:-2, 2:-2]
                assert np.isfinite(inner).mean() > 0.9
                np.testing.assert_allclose(
                    np.nanmedian(inner, (1, 2)), [3 * stride / 8, stride / 8], atol=0.05
                )
    unrelated = motion.push(rng.random((3, 128, 192), np.float32), grid)
    assert np.isnan(unrelated[0]).mean() > 0.8


def test_lovasz_is_the_mean_jaccard_loss_of_hard_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 5, 6), generator=generator)
    labels[0, :2] = IGNORE
    predicted = torch.randint(0, 3, (2, 5, 6), generator=generator)
    hard = F.one_hot(predicted, 4).permute(0, 3, 1, 2).float() * 1e4
    valid = labels != IGNORE
    losses = [
        1 - ((predicted == c) & (labels == c))[valid].sum() / ((predicted == c) | (labels == c))[valid].sum()
        for c in range(3)
    ]
    found = keyframe.lovasz_softmax(hard, labels)
    torch.testing.assert_close(found, torch.stack(losses).mean())
    perfect = F.one_hot(labels.clamp(max=3), 4).permute(0, 3, 1, 2).float() * 1e4
    assert keyframe.lovasz_softmax(perfect, labels) == 0
    assert keyframe.lovasz_softmax(hard, torch.full_like(labels, IGNORE)) == 0
    soft = torch.randn(2, 4, 5, 6, generator=generator, requires_grad=True)
    keyframe.lovasz_softmax(soft, labels).backward()  # type: ignore[no-untyped-call]
    assert soft.grad is not None and soft.grad.abs().sum() > 0


@pytest.mark.parametrize("trunk", ["efficientnet_lite0", "resnet18"])
def test_a_frozen_trunk_keeps_its_early_layers(root: Path, tmp_path: Path, trunk: str) -> None:
    data = load_labelled("camvid", root)
    recipe = replace(keyframe.PRESETS["smoke"], trunk=trunk, steps=1, crop=(32, 32), ema=0.0)
    keyframe.train_keyframe(tmp_path / "start", recipe, data)
    start = tmp_path / "start/checkpoint.safetensors"
    before = load_keyframe(start)[0].state_dict()
    fine = replace(recipe, frozen_to_stride_4=True, lovasz=1.0, measured_at=1.5, steps=2, seed=1)
    after = keyframe.train_keyframe(tmp_path / "fine", fine, data, start).state_dict()
    network = load_keyframe(start)[0]
    early = {
        id(p)
        for part in keyframe.trunk_to_stride_4(network)
        for p in part.state_dict(keep_vars=True).values()
    }
    frozen = {name for name, p in network.state_dict(keep_vars=True).items() if id(p) in early}
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert len(frozen) > 10 and frozen <= same
    assert "head.2.weight" not in same and len(same) < len(before)


def test_parts_that_are_ours_start_as_none(root: Path, runs: Path, tmp_path: Path) -> None:
    """From a checkpoint without them: the same network at first, then their weights move too."""
    torch.manual_seed(0)
    config = PropagationConfig(classes=11, refined=True, residual=True)
    before = Propagation(config).eval()
    start = tmp_path / "start.safetensors"
    loop.save_checkpoint(start, before, {"kind": "propagation", "network": before.describe()})
    checkpoint = runs / "keyframe/checkpoint.safetensors"
    windows = load_windows(root, checkpoint, load_keyframe(checkpoint)[0], GEOMETRY, runs / "cache", True)
    recipe = replace(propagation.PRESETS["finetune"], steps=1, batch=2, crop=(8, 12), lr=0.0, ema=0.0)
    same = propagation.train_propagation(tmp_path / "same", recipe, 11, windows, start)
    pictures = torch.rand(2, 1, 3, 12, 16)
    with torch.inference_mode():  # running statistics move, weights do not
        before.flow.load_state_dict(same.flow.state_dict(), strict=False)  # type: ignore[union-attr]
        expected = before.flow(pictures[0], pictures[1])
        torch.testing.assert_close(same.flow(pictures[0], pictures[1]), expected)  # type: ignore[operator]
    for head in (same.flow.refine[1].head, same.filter.sharpen.head, same.guide.gate.head):  # type: ignore[index,union-attr]
        assert head.weight.abs().max() == 0  # type: ignore[union-attr,operator]
    moved = propagation.train_propagation(tmp_path / "moved", replace(recipe, lr=1e-3), 11, windows, start)
    for head in (moved.flow.refine[1].head, moved.filter.sharpen.head, moved.guide.gate.head):  # type: ignore[index,union-attr]
        assert head.weight.abs().max() > 0  # type: ignore[union-attr,operator]


def test_preset_flow_teaches_the_flow_alone(root: Path, runs: Path, tmp_path: Path) -> None:
    checkpoint = runs / "keyframe/checkpoint.safetensors"
    windows = load_windows(root, checkpoint, load_keyframe(checkpoint)[0], GEOMETRY, runs / "cache", True)
    recipe = replace(propagation.PRESETS["flow"], steps=2, flow_steps=2, batch=2, crop=(8, 12), ema=0.0)
    batch = propagation.draw(0, recipe, windows.clips, windows.stills)
    assert batch.pictures.shape[:2] == (2, 4) and batch.flows.shape[:2] == (1, 4) and not len(batch.scores)
    torch.manual_seed(recipe.seed)
    before = Propagation(propagation.network_config(recipe, 11)).state_dict()
    after = propagation.train_propagation(tmp_path / "flow", recipe, 11, windows).state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"flow"}


def test_every_second_batch_starts_from_drifted_scores() -> None:
    """Half of the windows go through up to `drift` steps first, forth and back, and end where they began."""
    steps: list[tuple[float, float]] = []

    class Counting(torch.nn.Module):
        def forward(
            self, current: torch.Tensor, previous: torch.Tensor, scores: torch.Tensor
        ) -> torch.Tensor:
            steps.append((float(previous.max()), float(current.max())))
            return scores + 1

    pictures = torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 1, 3, 2, 2)
    drawn = []
    for step in range(16):
        steps.clear()
        nothing = torch.empty(0)
        batch = propagation.Batch(step, pictures, torch.zeros(1, 2, 2, 2), nothing, nothing, nothing)
        scores = propagation._drifted(Counting(), batch, 16)  # type: ignore[arg-type]
        assert scores.mean() == len(steps)
        assert steps == [(0, 1), (1, 2), (2, 1), (1, 0)] * (len(steps) // 4)
        drawn.append(len(steps))
    assert drawn[::2] == [0] * 8 and set(drawn[1::2]) == {4, 8, 12, 16}
    assert propagation._drifted(Counting(), batch, 0) is batch.scores  # type: ignore[arg-type]


def test_paper_preset_is_the_papers() -> None:
    paper = propagation.PRESETS["paper"]
    assert (paper.optimizer, paper.lr, paper.batch, paper.weight_decay) == ("sgd", 0.002, 8, 5e-4)
    assert (paper.refined, paper.residual, paper.flow_refinements) == (False, False, 0)
    assert (paper.sharpened, paper.cubic, paper.gated, paper.drift) == (False, False, False, 0)
    assert (paper.flow_weight, paper.intra_weight) == (0, 0)
    assert propagation._schedule(paper)(1000) == pytest.approx(0.992**10)


def test_flow_network_learns_motion_on_rendered_pairs() -> None:
    """A minute of training at most; on unseen scenes the endpoint error is under half that of zero flow."""
    from samples.street_scene import StreetScene

    def pairs(seeds: range) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        rows = []
        for seed in seeds:
            scene = StreetScene(64, 96, seed=seed)
            for at in (3, 11, 19):
                previous, current = scene.render(at - 1), scene.render(at)
                rows.append((current.image, previous.image, current.flow, ~current.occluded))
        stacks = [np.stack(column) for column in zip(*rows, strict=True)]
        to_picture = [torch.from_numpy(p).permute(0, 3, 1, 2).float() / 255 for p in stacks[:2]]
        return to_picture[0], to_picture[1], torch.from_numpy(stacks[2]), torch.from_numpy(stacks[3])

    def error(flow: torch.Tensor, truth: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        return (flow - truth).pow(2).sum(1).add(1e-6).sqrt()[visible].mean()

    torch.manual_seed(0)
    current, previous, flow, visible = pairs(range(40))
    network = FlowNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        pick = torch.randint(len(current), (8,), generator=generator)
        if torch.rand((), generator=generator) < 0.5:
            batch = current[pick], previous[pick], flow[pick], visible[pick]
        else:  # mirrored
            mirrored = flow[pick].flip(3) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
            batch = current[pick].flip(3), previous[pick].flip(3), mirrored, visible[pick].flip(2)
        loss = error(network(batch[0], batch[1]), batch[2], batch[3])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    current, previous, flow, visible = pairs(range(1000, 1008))
    with torch.inference_mode():
        learned = error(network(current, previous), flow, visible)
    assert learned < 0.5 * error(torch.zeros_like(flow), flow, visible)
    assert F.l1_loss(flow, torch.zeros_like(flow)) > 0.1  # there is something to learn


def test_a_batch_without_a_labelled_pixel_teaches_nothing() -> None:
    scores = torch.randn(2, 3, 4, 6, requires_grad=True)
    for lovasz in (0.0, 0.5):
        loss = keyframe.scores_loss(scores, torch.full((2, 8, 12), IGNORE), torch.ones(3), lovasz)
        (gradient,) = torch.autograd.grad(loss, scores)
        assert loss.item() == 0 and not gradient.any()


def test_every_part_of_a_windows_loss_is_a_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 1 for each step's segmentation loss, f's too, and for the flow's: the sum of the weights, however long."""
    monkeypatch.setattr(propagation, "_flow_loss", lambda *_: torch.ones(()))
    model = Propagation(PropagationConfig(classes=3))
    for length in (1, 3):
        batch = propagation.Batch(
            step=0,
            pictures=torch.rand(length + 1, 1, 3, 8, 8),
            scores=torch.rand(1, 3, 8, 8),
            flows=torch.zeros(length, 1, 2, 8, 8),
            teacher=torch.rand(length, 1, 3, 8, 8),
            labels=torch.empty(length, 0),
        )
        for every in (True, False):
            recipe = propagation.PropagationRecipe(
                supervise_every_step=every, flow_weight=0.5, intra_weight=0.25
            )
            loss = propagation.window_loss(model, batch, recipe, lambda *_: torch.ones(()))  # type: ignore[arg-type]
            assert loss.item() == pytest.approx(1 + 0.5 + 0.25)
