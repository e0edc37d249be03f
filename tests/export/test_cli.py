"""The torch verbs from the command line: train, resume, export, and what they say when something is wrong."""

import json
from pathlib import Path

import pytest

from gsvnet_engine.cli import main
from gsvnet_engine.errors import BundleError
from gsvnet_engine.geometry import Geometry, Scaled
from gsvnet_export import bundles, precision
from tests.export.datasets import write_camvid, write_clip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_camvid(tmp_path / "data")
    (root / "clips").mkdir()
    write_clip(root / "clips/road.mp4")
    return root


def test_from_data_to_bundle(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keyframe, propagation = tmp_path / "keyframe", tmp_path / "propagation"
    common = ["--data", str(root), "--preset", "smoke", "--steps", "6", "--json"]
    assert main(["train", "keyframe", *common, "-o", str(keyframe)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["step"] == 6 and Path(report["checkpoint"]).is_file() and "slice_miou" in report

    checkpoint = str(keyframe / "checkpoint.safetensors")
    sizes = ["--short-side", "96", "--keyframe-scale", "1/2"]
    shared = ["--keyframe", checkpoint, "--cache", str(tmp_path / "cache")]
    assert main(["train", "propagation", *common, *sizes, *shared, "-o", str(propagation)]) == 0
    assert list((tmp_path / "cache").glob("*.scores.npy")) and not (propagation / "cache").exists()
    assert json.loads(capsys.readouterr().out)["step"] == 6

    checkpoints = ["--keyframe", checkpoint, "--propagation", str(propagation / "checkpoint.safetensors")]
    target = ["-o", str(tmp_path / "bundle")]
    assert main(["export", *checkpoints, *target, *sizes, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verified"]["labels_different"] <= 5e-4
    assert main(["export", *checkpoints, *target, *sizes]) == 5
    assert "--force" in capsys.readouterr().err

    rule = {"statistic": "mean_confidence", "threshold": 0.8, "usual": [0.9, 0.95]}
    survey, other = tmp_path / "survey.json", tmp_path / "other.json"
    survey.write_text(json.dumps({"familiarity": [{"manifest": rule}]}))
    other.write_text("{}")
    again = ["export", *checkpoints, *target, *sizes, "--force", "--familiarity"]
    assert main([*again, str(survey)]) == 0
    assert json.loads((tmp_path / "bundle/manifest.json").read_text())["familiarity"] == rule
    capsys.readouterr()
    assert main([*again, str(other)]) == 3
    assert "is not what `evaluate --familiarity" in capsys.readouterr().err

    lower = ["export", *checkpoints, "-o", str(tmp_path / "half"), *sizes, "--precision", "fp16"]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GSVNET_DATA", raising=False)
        assert main(lower) == 2
        assert "--data or GSVNET_DATA" in capsys.readouterr().err
        patch.setitem(precision.LIMITS, "fp16", precision.Limit(points=-100, agreement=0))
        assert main([*lower, "--data", str(root)]) == 4
        assert "nothing was written" in capsys.readouterr().err and not (tmp_path / "half").exists()
        patch.setitem(precision.LIMITS, "fp16", precision.Limit(points=100, agreement=0))
        assert main([*lower, "--data", str(root), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["precision"] == "fp16" and report["conversion"]["held_out"]["agreement"] > 90


@pytest.mark.parametrize(
    ("option", "content", "text"),
    [
        ("--accuracy", "[]", "must be an object {...}, not []"),
        ("--accuracy", "NaN", "not a JSON file that can be read (NaN is not a JSON number)"),
        ("--accuracy", '{"intervals": {}}', "intervals: lacks 'average_miou'; measure it again"),
        ("--accuracy", '{"intervals": {"average_miou": {"1": 200}}}', "must be a number in 0..100, not 200"),
        ("--familiarity", "[]", "is not what `evaluate --familiarity"),
        ("--familiarity", '{"familiarity": [{"manifest": []}]}', "must be an object {...}, not []"),
        ("--familiarity", '{"familiarity": [{"manifest": {}}]}', "lacks 'statistic'; measure it again"),
    ],
)
def test_what_the_manifest_cannot_hold_is_found_before_any_work(
    option: str, content: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stated.json"
    path.write_text(content)
    target = tmp_path / "parent/bundle"
    arguments = ["--keyframe", "a", "--propagation", "b", "-o", str(target), option, str(path)]
    assert main(["export", *arguments]) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ") and text in error and error.count("\n") == 1
    assert not target.parent.exists()


def test_a_bundle_that_does_not_open_leaves_no_folder(tmp_path: Path) -> None:
    sizes = Geometry(working="source", keyframe=Scaled((3, 4), 32))
    options = bundles.ExportOptions(name="", geometry=sizes, license="CC0-1.0")
    with pytest.raises(BundleError, match="name"):
        bundles.write_bundle(tmp_path / "bundle", {}, [], [], None, options)
    assert not list(tmp_path.iterdir())


def test_camvids_stills_are_for_networks_of_its_classes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"data": {"dataset": "cityscapes", "classes": []}}
    monkeypatch.setattr(bundles, "load_keyframe", lambda path: (None, config))
    assert main(["train", "propagation", "--data", ".", "--keyframe", "k", "-o", "run"]) == 2
    assert (
        "k: trained on cityscapes, and the stills are CamVid's: give --no-stills" in capsys.readouterr().err
    )


@pytest.mark.parametrize("option", ["-o", "--cache"])
def test_places_are_tried_before_the_teacher_runs(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"data": {"dataset": "camvid", "classes": []}}
    monkeypatch.setattr(bundles, "load_keyframe", lambda path: (None, config))
    (tmp_path / "file").touch()
    arguments = ["--data", ".", "--keyframe", "k", "-o", str(tmp_path / "run")]
    assert main(["train", "propagation", *arguments, option, str(tmp_path / "file/place")]) == 5
    assert f"(Not a directory); make room, or name another folder with {option}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (
            ["train", "keyframe", "--data", "{}", "-o", "{}/run", "--preset", "none"],
            2,
            "best, swiftnet, finetune, smoke",
        ),
        (
            ["train", "keyframe", "--data", "{}", "-o", "{}/run", "--network", "unet"],
            2,
            "--network unet: there are swiftnet, bisenet",
        ),
        (
            ["train", "keyframe", "--data", "{}", "-o", "{}/run", "--trunk", "vgg"],
            2,
            "--trunk vgg: there are resnet18, efficientnet_lite0",
        ),
        (["train", "keyframe", "--data", "{}/nothing", "-o", "{}/run"], 3, "holds neither train/"),
        (["train", "keyframe", "--data", "{}", "-o", "{}/file"], 5, "file: is a file; name a folder with -o"),
        (
            ["train", "keyframe", "--data", "{}", "-o", "{}/file/run"],
            5,
            "cannot be written (Not a directory)",
        ),
        (
            ["export", "--keyframe", "a", "--propagation", "b", "-o", "{}/file/c"],
            5,
            "make room, or name another folder with -o",
        ),
        (
            ["train", "propagation", "--data", "{}", "--keyframe", "{}/no", "-o", "{}/run"],
            3,
            "no such checkpoint",
        ),
        (["export", "--keyframe", "{}/a", "--propagation", "{}/b", "-o", "{}/c"], 3, "no such checkpoint"),
        (
            ["export", "--keyframe", "a", "--propagation", "b", "-o", "c", "--keyframe-scale", "x"],
            2,
            "such as 1/2",
        ),
        *(
            (["export", "--keyframe", "a", "--propagation", "b", "-o", "c", *more], 2, more[0])
            for more in (
                ["--interval", "5000"],
                ["--short-side", "100000"],
                ["--keyframe-scale", "9/1"],
                ["--license", ""],
                ["--precision", "fp8"],
                ["-o", "/"],
            )
        ),
    ],
)
def test_mistakes_get_one_line_and_their_exit_code(
    arguments: list[str], code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([argument.format(tmp_path) for argument in arguments]) == code
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and error.startswith("error: ")
