import json
import sys

import av.codec
import pytest

from gsvnet_engine import __version__
from gsvnet_engine.backends.tensorrt import backend
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cli import doctor, main
from gsvnet_engine.cuda import device
from gsvnet_engine.cuda.device import DeviceInfo
from gsvnet_engine.errors import BackendError, BundleError

pytestmark = pytest.mark.usefixtures("installed")


def examined(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, bool], dict[str, str]]:
    """The exit code, and for each check whether it is well and what it says."""
    code = main(["doctor", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["gsvnet_engine"] == __version__
    checks = {check["name"]: check for check in facts["checks"]}
    return code, {n: c["ok"] for n, c in checks.items()}, {n: c["detail"] for n, c in checks.items()}


class TestDoctor:
    def test_a_whole_installation(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, well, detail = examined(capsys)
        assert code == 0
        for name in (
            "native kernels",
            "openvino",
            "onnxruntime",
            "video decoding",
            "H.264 encoding",
            "OpenCV",
        ):
            assert well[name], detail[name]
        assert well["GPU"] or "networks run on the CPU" in detail["GPU"]

    def test_without_runtimes(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("openvino", "onnxruntime"):
            monkeypatch.setitem(sys.modules, name, None)
        code, well, detail = examined(capsys)
        assert code == 6
        assert not well["openvino"] and "install gsvnet-engine[cpu]" in detail["openvino"]

    def test_without_opencv(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "cv2", None)
        code, _, detail = examined(capsys)
        assert code == 6
        assert "apt install libgl1 libglib2.0-0" in detail["OpenCV"]

    def test_a_damaged_bundle(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def damaged(bundle: Bundle) -> None:
            raise BundleError("street: keyframe.onnx is not what the manifest says")

        monkeypatch.setattr(Bundle, "verify", damaged)
        assert main(["doctor"]) == 6
        text = capsys.readouterr().out
        assert "NO bundle street" in text and "not ready" in text

    def test_what_it_can_do_without(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One runtime of two, and an encoder that another stands in for, are no fault."""
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        monkeypatch.setattr(av.codec, "Codec", lambda name, mode: 1 / 0)
        assert main(["doctor"]) == 0
        text = capsys.readouterr().out
        assert "-- onnxruntime" in text and "-- H.264 encoding" in text
        assert "\nNO " not in text

    def test_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor"]) == 0
        text = capsys.readouterr().out
        assert "ready to segment video" in text and "openvino" in text

    def test_a_check_never_ends_the_report(self) -> None:
        check = doctor._check("x", lambda: str(1 / 0), "buy another")
        assert (check.ok, check.detail) == (False, "ZeroDivisionError: division by zero: buy another")

    def test_a_gpu_that_no_tensorrt_serves(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        card = DeviceInfo(index=0, name="Toy 9", capability=(9, 0), memory_bytes=3 << 30, driver=(13, 0))

        def refuse(options: object) -> None:
            raise BackendError("tensorrt: is not installed")

        monkeypatch.setattr(device, "probe", lambda: [card])
        monkeypatch.setattr(backend, "examine", refuse)
        code, well, detail = examined(capsys)
        assert code == 0 and not well["GPU"]
        assert detail["GPU"] == (
            "Toy 9 (compute capability 9.0, 3 GiB, driver for CUDA 13.0); tensorrt: is not installed; the next "
            "line says whether ONNX Runtime takes its place"
        )
