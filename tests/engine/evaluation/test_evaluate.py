"""The evaluate verb, from arguments to exit code, on the toy bundle."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gsvnet_engine.cli import main
from gsvnet_engine.cli.evaluate import parse_intervals
from gsvnet_engine.errors import InputError, OutputError, UsageError
from gsvnet_engine.evaluation import agreement, curve, familiarity, job
from tests.engine.evaluation import scenes


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return str(scenes.bundle(tmp_path / "toy"))


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(scenes.write(tmp_path / "data", scenes.scene(6)))


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["evaluate", *arguments, "--threads", "1", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["evaluate", *arguments])
    return code, capsys.readouterr().err


class TestEvaluate:
    def test_json(self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
        facts = evaluated(capsys, bundle, "--data", root, "--intervals", "3,1", "--backend", "onnxruntime")
        tables = {"rows", "distances", "per_class", "agreement", "machine_labels", "familiarity"}
        assert set(facts) == {"bundle", "dataset", "split", "frames", "absent", "problems"} | tables
        assert (facts["bundle"], facts["split"], facts["frames"]) == ("toy", "val", 4)
        assert [row["interval"] for row in facts["rows"]] == [1, 3]
        kinds = ("average", "minimum", "repeat_average", "repeat_minimum", "warp_average", "warp_minimum")
        names = {f"{kind}_{what}" for kind in kinds for what in ("miou", "boundary_f")}
        names |= {f"{kind}consistency" for kind in ("", "repeat_", "truth_")}
        names |= {f"{kind}fps" for kind in ("", "repeat_", "warp_")}
        assert set(facts["rows"][0]) == {"interval", "bundle", "backend", "precision"} | names
        assert (facts["rows"][0]["backend"], facts["rows"][0]["precision"]) == ("onnxruntime", "f32")
        assert facts["absent"] == ["Fence"] and "Fence" not in facts["per_class"]
        mean = sum(facts["per_class"].values()) / 10
        assert mean == pytest.approx(facts["rows"][0]["average_miou"])
        assert facts["agreement"] == []

    def test_text(self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
        images = f"{root}/val/images"
        options = ["--intervals", "1,2", "--max-frames", "4", "--agreement", images]
        assert main(["evaluate", bundle, "--data", root, *options]) == 0
        text = capsys.readouterr().out
        for part in (
            "CamVid val, 3 labelled frames, by toy, ",
            "Bicyclist",
            "not in any mean: Fence",
            images,
        ):
            assert part in text

    def test_agreement_needs_no_data(
        self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images = f"{root}/val/images"
        facts = evaluated(capsys, bundle, "--agreement", images, "--intervals", "2", "--max-frames", "3")
        assert facts["rows"] == [] and facts["split"] is None
        (row,) = facts["agreement"]
        assert (row["video"], row["interval"]) == (images, 2)
        assert 0 < row["agreement"] <= 1 and 0 < row["repeat_agreement"] <= 1

    def test_stills(self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = scenes.write(tmp_path / "stills", scenes.scene(1), split="test")
        given = bundle, "--data", str(root), "--split", "test"
        assert [row["interval"] for row in evaluated(capsys, *given)["rows"]] == [1]
        code, error = failed(capsys, *given, "--intervals", "1,2")
        assert code == 2 and "holds stills" in error

    def test_a_run_with_a_frame_missing(
        self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for path in Path(root).glob("val/*/0016E5_00013.*"):
            path.unlink()
        gap = "0016E5_00015.webp is the picture after 0016E5_00011.webp, 4 numbers on where others are 2: restore"
        code, error = failed(capsys, bundle, "--data", root, "--intervals", "2")
        assert code == 2 and "holds stills" in error and gap in error and error.count("\n") == 1
        code, error = failed(capsys, bundle, "--data", root)
        assert code == 0 and error.startswith("only interval 1 is measured: ") and gap in error

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            ([], "nothing to measure"),
            (["--data", ".", "--split", "trial"], "train, val, test"),
            (["--data", ".", "--intervals", "1,,2"], "--intervals must be"),
            (["--agreement", "-"], "--agreement -: evaluate reads no raw frames from stdin"),
            (["--data", ".", "--familiarity", "-"], "--familiarity -: evaluate reads no raw frames"),
        ],
    )
    def test_usage(
        self, bundle: str, arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, error = failed(capsys, bundle, *arguments)
        assert code == 2 and part in error and error.count("\n") == 1

    def test_missing_data(self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, error = failed(capsys, bundle, "--data", str(tmp_path))
        assert code == 3 and "neither val/ nor camvid/val/" in error


class TestSeveral:
    def test_bundles_and_backends_in_one_table(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = str(scenes.bundle(tmp_path / "bare", warp=False))
        given = [bundle, other, "--data", root, "--intervals", "1,2"]
        facts = evaluated(capsys, *given, "--backend", "openvino,onnxruntime", "--backend", "openvino")
        assert facts["bundle"] == bundle  # both are called toy: told apart as they were given
        found = [(row["bundle"], row["backend"], row["precision"], row["interval"]) for row in facts["rows"]]
        assert found == [
            (name, backend, "f32", interval)
            for name in (bundle, other)
            for backend in ("openvino", "onnxruntime")
            for interval in (1, 2)
        ]
        assert len(facts["distances"]) == 8
        assert main(["evaluate", *given]) == 0
        text = capsys.readouterr().out
        assert f"(2) {other}, openvino f32" in text and text.count("frames/s") == 2

    def test_what_cannot_be_is_left_out(
        self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = [bundle, "--data", root, "--intervals", "1", "--json", "--backend", "onnxruntime"]
        assert main(["evaluate", *given, "--cpu-precision", "f32,bf16"]) == 0
        captured = capsys.readouterr()
        assert captured.err.startswith("left out: onnxruntime: computes in f32 only")
        assert captured.err.count("\n") == 1
        assert [row["precision"] for row in json.loads(captured.out)["rows"]] == ["f32"]
        code, error = failed(
            capsys, bundle, "--data", root, "--backend", "onnxruntime", "--cpu-precision", "bf16"
        )
        assert code == 6 and "f32 only" in error and error.count("\n") == 1

    def test_every_distance(self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
        facts = evaluated(capsys, bundle, "--data", root, "--intervals", "1,3")
        assert [row["distance"] for row in facts["distances"]] == [0, 1, 2]
        first, last = facts["distances"][0], facts["distances"][-1]
        assert first["per_class"] == facts["per_class"]
        assert last["miou"] == pytest.approx(facts["rows"][1]["minimum_miou"])
        assert last["repeat_miou"] == pytest.approx(facts["rows"][1]["repeat_minimum_miou"])
        assert set(last["boundary_f_per_class"]) == set(last["per_class"])


class TestMeasures:
    def test_boundary_can_be_left_out(
        self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = bundle, "--data", root, "--intervals", "1,2"
        measured = evaluated(capsys, *given)["rows"][1]
        assert 0 < measured["minimum_boundary_f"] <= 100 and 0 < measured["warp_average_boundary_f"] <= 100
        assert evaluated(capsys, *given, "--no-boundary")["rows"][1]["average_boundary_f"] is None

    def test_consistency(self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
        given = bundle, "--data", root, "--intervals", "1,2", "--agreement", f"{root}/val/images"
        facts = evaluated(capsys, *given, "--consistency")
        for row in facts["rows"] + facts["agreement"]:
            assert 0 <= row["consistency"] <= 100 and 0 <= row["repeat_consistency"] <= 100
        assert 0 < facts["rows"][0]["truth_consistency"] < 100
        assert main(["evaluate", *given, "--consistency"]) == 0
        assert capsys.readouterr().out.count("temporal consistency") == 2

    def test_consistency_without_frames_in_succession(
        self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = scenes.write(tmp_path / "stills", scenes.scene(1))
        given = bundle, "--data", str(root), "--agreement", f"{root}/val/images", "--intervals", "1"
        assert main(["evaluate", *given, "--consistency"]) == 0
        of_data, of_video = capsys.readouterr().err.splitlines()
        assert of_data.startswith("--consistency: not measured of CamVid val: no labelled frames")
        assert of_video.startswith(f"--consistency: not measured of {root}/val/images: no frames")


class TestCurve:
    def test_is_drawn(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "curve.png"
        given = bundle, "--data", root, "--intervals", "1,2", "--curve", str(path)
        evaluated(capsys, *given)
        picture = cv2.imread(str(path))
        assert picture is not None and min(picture.shape[:2]) > 400
        code, error = failed(capsys, *given)
        assert code == 5 and "exists already" in error
        evaluated(capsys, *given, "--force")

    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["--data", ".", "--curve", "curve.svg"], 2, "the curve is a PNG"),
            (["--agreement", "v.mp4", "--curve", "curve.png"], 2, "--curve: shows mIoU"),
            (["--data", ".", "--curve", "nowhere/curve.png"], 5, "does not exist"),
        ],
    )
    def test_refused(
        self, bundle: str, arguments: list[str], code: int, part: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found, error = failed(capsys, bundle, *arguments)
        assert found == code and part in error and error.count("\n") == 1

    def test_names_are_shown_as_they_are(self, tmp_path: Path) -> None:
        kinds = {"fps": 10.0, "average_miou": 70.0, "repeat_fps": 20.0, "repeat_average_miou": 60.0}
        row = {"interval": 1, "backend": "openvino", "precision": "f32", **kinds}
        row |= {"warp_fps": None, "warp_average_miou": None}
        names = [f"{name}, openvino f32" for name in ("a$_b$", "_c", "$\\nothing{$")]
        rows = [{**row, "bundle": name.partition(",")[0]} for name in names]
        (legend,) = curve.figure(rows, "title").legends
        shown = [text.get_text() for text in legend.get_texts()]
        assert shown == [text for name in names for text in (name, f"{name}: keyframe repeated")]
        curve.draw(tmp_path / "curve.png", rows, "title")

    def test_without_matplotlib_nothing_is_measured(
        self, bundle: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        code, error = failed(capsys, bundle, "--data", "nowhere", "--curve", "curve.png")
        assert code == 6 and "install gsvnet-engine[export]" in error and error.count("\n") == 1


class TestFailures:
    """What can be known to fail is known first; what was measured before another failure is not lost."""

    @pytest.fixture
    def measures_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: Any, **__: Any) -> None:
            raise AssertionError("measured before everything was checked")

        monkeypatch.setattr(job, "evaluate", never)

    @pytest.mark.usefixtures("measures_nothing")
    def test_all_is_checked_first(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images = f"{root}/val/images"
        other = str(scenes.bundle(tmp_path / "other", names=("Road", "Rest")))
        for arguments, code, part in (
            ([bundle, "--agreement", "gone.mp4"], 3, "gone.mp4: no such file"),
            ([bundle, "--agreement", images, "--machine-labels", "gone"], 3, "gone: no such folder"),
            ([bundle, other], 2, "has the classes Road, Rest"),
            ([bundle, "--curve", "/proc/x.png"], 5, "/proc/x.png: "),
            ([bundle, "--intervals", "7"], 2, "interval 7 needs at least 7 frames; here are 6"),
        ):
            found, error = failed(capsys, *arguments, "--data", root)
            assert found == code and part in error and error.count("\n") == 1

    def test_checking_a_curve_leaves_no_file(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        curve = tmp_path / "curve.png"
        given = bundle, "--data", root, "--agreement", "gone.mp4", "--curve", str(curve)
        assert failed(capsys, *given)[0] == 3 and not curve.exists()
        curve.write_bytes(b"kept")
        assert failed(capsys, *given, "--force")[0] == 3 and curve.read_bytes() == b"kept"

    @pytest.mark.parametrize(
        ("problem", "code", "line"),
        [
            (InputError("late.mp4: is damaged"), 3, "late.mp4: is damaged"),
            (KeyboardInterrupt(), 130, "interrupted"),
        ],
    )
    def test_what_was_measured_is_printed(
        self,
        bundle: str,
        root: str,
        problem: BaseException,
        code: int,
        line: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise problem

        monkeypatch.setattr(agreement, "agreement", fail)
        given = bundle, "--data", root, "--intervals", "1,2", "--agreement", f"{root}/val/images"
        assert main(["evaluate", *given]) == code
        captured = capsys.readouterr()
        assert "CamVid val, 5 labelled frames" in captured.out and "Bicyclist" in captured.out
        assert captured.err == f"error: {line}\n"
        assert main(["evaluate", *given, "--json"]) == code
        captured = capsys.readouterr()
        facts = json.loads(captured.out)
        assert [row["interval"] for row in facts["rows"]] == [1, 2]
        assert (facts["error"], facts["exit_code"]) == (line, code)
        assert captured.err == f"error: {line}\n"

    def test_a_curve_that_fails_loses_nothing(
        self,
        bundle: str,
        root: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def fail(*_: Any) -> None:
            raise OutputError("curve.png: the disk is full")

        monkeypatch.setattr(curve, "draw", fail)
        given = bundle, "--data", root, "--intervals", "1", "--curve", str(tmp_path / "curve.png")
        assert main(["evaluate", *given]) == 5
        assert "CamVid val, 6 labelled frames" in capsys.readouterr().out


class TestMachineLabels:
    def write(self, folder: Path, frames: dict[int, scenes.Array]) -> str:
        folder.mkdir(parents=True)
        for number, labels in frames.items():
            cv2.imwrite(str(folder / f"{number:06d}.png"), labels)
        return str(folder)

    def test_is_measured_as_truth_would_be(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """All frames labelled with CamVid's labels: the shares follow from the same protocol on them."""
        folder = self.write(
            tmp_path / "m/images", {t: labels for t, (_, labels) in enumerate(scenes.scene(6))}
        )
        given = bundle, "--agreement", f"{root}/val/images", "--intervals", "3", "--data", root
        facts = evaluated(capsys, *given, "--machine-labels", str(Path(folder).parent))
        one, three = facts["machine_labels"]
        assert (one["interval"], three["interval"], three["frames"]) == (1, 3, 4)
        assert three["average_class_agreement"] == pytest.approx(facts["rows"][0]["average_miou"] / 100)
        assert three["minimum_class_agreement"] == pytest.approx(facts["rows"][0]["minimum_miou"] / 100)
        assert one["constant_agreement"] == three["constant_agreement"] > 0.25  # of four random labels one
        assert main(["evaluate", *given[:3], "--machine-labels", folder]) == 0
        assert "best constant map" in capsys.readouterr().out

    def test_sparse_labels(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pairs = scenes.scene(6)
        folder = self.write(tmp_path / "m", {t: pairs[t][1] for t in (0, 2, 5)})
        given = bundle, "--agreement", f"{root}/val/images", "--intervals", "2", "--machine-labels", folder
        assert evaluated(capsys, *given)["machine_labels"][1]["frames"] == 2
        assert evaluated(capsys, *given, "--max-frames", "4")["machine_labels"][1]["frames"] == 1

    def test_the_pngs_that_run_writes(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Their pixels are the classes; the palette's colours are for eyes."""
        images = f"{root}/val/images"
        options = "--bundle", bundle, "--backend", "onnxruntime", "--interval", "1"
        assert main(["run", images, *options, "-o", f"{tmp_path}/m/", "-q"]) == 0
        given = bundle, "--agreement", images, "--intervals", "1", "--backend", "onnxruntime"
        facts = evaluated(capsys, *given, "--machine-labels", str(tmp_path / "m"))
        assert facts["machine_labels"][0]["average_agreement"] == 1

    def test_labels_are_looked_at_before_any_work(
        self,
        bundle: str,
        root: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(agreement, "agreement", None)
        folder = self.write(tmp_path / "m", {0: np.zeros((32, 48, 3), np.uint8)})
        given = "--agreement", f"{root}/val/images", "--intervals", "1", "--machine-labels", folder
        code, error = failed(capsys, bundle, *given)
        assert code == 3 and "000000.png: not a one-channel 8-bit PNG" in error

    @pytest.mark.parametrize(
        ("number", "labels", "part"),
        [
            (1, np.zeros((8, 16), np.uint8), "000001.png: is 16x8 where its picture is 48x32"),
            (1, np.full((32, 48), 12, np.uint8), "000001.png: holds the value 12; machine labels are 0..10"),
            (9, np.zeros((32, 48), np.uint8), "has 6 frames, numbered from 0"),
        ],
    )
    def test_labels_that_do_not_fit(
        self,
        bundle: str,
        root: str,
        tmp_path: Path,
        number: int,
        labels: scenes.Array,
        part: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        folder = self.write(tmp_path / "m", {number: labels})
        given = "--agreement", f"{root}/val/images", "--intervals", "1", "--machine-labels", folder
        code, error = failed(capsys, bundle, *given)
        assert code == 3 and part in error and error.count("\n") == 1

    def test_labels_of_two_sizes(
        self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        video, sizes = tmp_path / "video", [(32, 48), (32, 48), (64, 96)]
        video.mkdir()
        for number, size in enumerate(sizes):
            cv2.imwrite(str(video / f"{number}.png"), np.zeros((*size, 3), np.uint8))
        labels = {number: np.zeros(size, np.uint8) for number, size in enumerate(sizes)}
        folder = self.write(tmp_path / "m", labels)
        given = "--agreement", str(video), "--intervals", "1", "--machine-labels", folder
        code, error = failed(capsys, bundle, *given)
        assert code == 3 and "000002.png: is 96x64 where 000000.png is 48x32" in error

    def test_two_files_of_one_number(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = self.write(tmp_path / "m", {3: np.zeros((32, 48), np.uint8)})
        (tmp_path / "m/3.png").touch()
        given = "--agreement", f"{root}/val/images", "--machine-labels", folder
        code, error = failed(capsys, bundle, *given)
        assert code == 3 and "3.png: 000003.png is of frame 3, too; keep one" in error

    def test_refused(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        video = "--agreement", f"{root}/val/images", "--intervals", "1", "--machine-labels"
        code, error = failed(capsys, bundle, *video, str(tmp_path / "none"))
        assert code == 3 and "no such folder" in error
        code, error = failed(capsys, bundle, *video, self.write(tmp_path / "m", {}))
        assert code == 3 and "holds no <frame number>.png" in error
        one = self.write(tmp_path / "one", {1: np.zeros((32, 48), np.uint8)})
        code, error = failed(capsys, bundle, *video[:2], *video, one)
        assert code == 2 and "holds labels of one video, and 2 are given" in error
        code, error = failed(capsys, bundle, *video[:2], "--intervals", "3", "--machine-labels", one)
        assert code == 3 and "labels no frame from number 2 on; interval 3 reads the 2 frames before" in error
        (tmp_path / "m/first.png").touch()
        code, error = failed(capsys, bundle, *video, str(tmp_path / "m"))
        assert code == 3 and "must be the frame's number" in error
        code, error = failed(capsys, bundle, "--data", root, "--machine-labels", str(tmp_path / "m"))
        assert code == 2 and "give it with --agreement" in error.lower()


class TestFamiliarity:
    def test_a_threshold_from_known_material(
        self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = scenes.write(tmp_path / "data", scenes.scene(25))
        scenes.write(root, scenes.scene(12, seed=4), split="test")
        images = str(root / "test/images")
        (survey,) = evaluated(capsys, bundle, "--data", str(root), "--familiarity", images)["familiarity"]
        known = [row for row in survey["materials"] if row["known"]]
        assert [(row["name"], row["windows"]) for row in known] == [("val/0016E5", 3), ("test/0016E5", 1)]
        entry = survey["manifest"]
        assert entry["statistic"] == "mean_confidence"
        assert known[0]["lowest"] <= entry["threshold"] < entry["usual"][0] < entry["usual"][1]
        assert len(entry["measured"]["warned"]) + len(entry["measured"]["not warned"]) == 1
        assert main(["evaluate", bundle, "--data", str(root), "--familiarity", images]) == 0
        assert '"familiarity": {"statistic"' in capsys.readouterr().out

    def test_max_frames_limits_known_material_too(
        self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = scenes.write(tmp_path / "data", scenes.scene(25))
        given = bundle, "--data", str(root), "--familiarity", f"{root}/val/images", "--max-frames", "12"
        known, judged = evaluated(capsys, *given)["familiarity"][0]["materials"]
        assert (known["windows"], judged["windows"]) == (1, 1)

    def test_the_median_is_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        windows = ((0.1, 0.2, 0.4, 0.9),)
        material = familiarity.Material(name="val", is_known=True, windows=windows)
        monkeypatch.setattr(familiarity, "survey", lambda *_, **__: familiarity.conclude([material], []))
        options = job.EvaluateOptions(bundles=(str(scenes.bundle(tmp_path)),), familiarity=("v.mp4",))
        (subject,) = job.plan(options, print)
        (row,) = job._surveyed(subject, tmp_path, options, [])["materials"]
        assert row["median"] == 0.3

    def test_unreadable_parts_are_told(
        self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root, video = scenes.write(tmp_path / "data", scenes.scene(12)), tmp_path / "video"
        shutil.copytree(f"{root}/val/images", video)
        (video / "0016E5_00012.png").write_bytes(b"damaged")
        given = bundle, "--data", str(root), "--familiarity", str(video)
        assert main(["evaluate", *given]) == 7
        error = capsys.readouterr().err
        assert error.startswith("warning: ") and "0016E5_00012.png: cannot be read" in error
        assert error.count("\n") == 1

    def test_what_is_missing(
        self, bundle: str, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images = f"{root}/val/images"
        code, error = failed(capsys, bundle, "--familiarity", images)
        assert code == 2 and "needs --data" in error
        code, error = failed(capsys, bundle, "--familiarity", images, "--data", root, "--max-frames", "2")
        assert code == 3 and "fewer than 3 keyframes" in error
        code, error = failed(capsys, bundle, "--familiarity", images, "--data", str(tmp_path / "none"))
        assert code == 3 and "holds none of train, val, test" in error


def test_intervals() -> None:
    assert parse_intervals("4, 1,2,1") == (1, 2, 4)
    assert parse_intervals("0" * 5000 + "3,1000") == (3, 1000)
    for text in ("", "0", "a", "-1", "1001", "1.5", "9" * 5000, "000000001000000000", "00"):
        with pytest.raises(UsageError, match="--intervals"):
            parse_intervals(text)


def test_the_verb_imports_nothing_heavy() -> None:
    program = "import sys, gsvnet_engine.cli.evaluate; print({'numpy', 'cv2', 'av'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
