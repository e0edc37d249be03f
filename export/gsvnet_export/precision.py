"""Float graphs -> the graphs of an fp16 or int8 bundle, judged against them on real frames before anything is written.

The judgement: over the pictures of the training split that are held out, average mIoU at interval 4 as the protocol
defines it (evaluation/protocol.py), on views that drift over each picture, and how many pixels are labelled as in
float32. Convolutions are left out of int8 by measurement: see `sensitive`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from gsvnet_engine import prepare
from gsvnet_engine.bundle import KEYFRAME, LABELS, LABELS_PLAIN, PROPAGATE
from gsvnet_engine.errors import BundleError
from gsvnet_engine.evaluation.confusion import Confusion
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Geometry
from gsvnet_engine.labels import upsample_labels
from gsvnet_engine.video import open_source
from gsvnet_export import half, quantise
from gsvnet_export.data.clips import training_clips
from gsvnet_export.data.datasets import load_labelled
from gsvnet_export.data.stills import Labels, Stills
from gsvnet_export.outputs import Say
from gsvnet_export.quantise import Feed

if TYPE_CHECKING:
    from onnxruntime.quantization.calibrate import TensorsData

INTERVAL = 4
CALIBRATION_STILLS = 48
CALIBRATION_FRAMES, FRAME_STEP = 8, 40  # of each clip: at most so many, so far apart
SENSITIVITY_STILLS = 8
SHARE_LEFT = 0.1  # of the error that all convolutions cause: what causes more alone stays float32

Graphs = Mapping[str, ModelProto]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a precision may cost on the held-out pictures: points of average mIoU; percent labelled as in float32."""

    points: float
    agreement: float


LIMITS = {"fp16": Limit(points=0.2, agreement=99.5), "int8": Limit(points=1.0, agreement=98.0)}


@dataclass(frozen=True, kw_only=True)
class Material:
    """Real pictures of a training split: `train` and `clips` to calibrate on, `held_out` to measure and judge on."""

    train: Stills
    clips: Sequence[Path]
    held_out: Stills
    classes: Sequence[str]
    slice_of: str  # what the held-out pictures are

    @classmethod
    def open(cls, dataset: str, root: Path) -> "Material":
        """As training reads `dataset` (data/datasets.py): the clips of root/clips, less those held out always."""
        data = load_labelled(dataset, root)
        clips = training_clips(root / "clips") if any((root / "clips").glob("*.mp4")) else []
        return cls(
            train=data.train,
            clips=clips,
            held_out=data.held_out,
            classes=[c["name"] for c in data.description["classes"]],
            slice_of=data.description["held_out"],
        )

    def calibration(self) -> Iterator[Frame]:
        """Pictures spread evenly over `train`, then frames of each clip."""
        for still in _spread(self.train, CALIBRATION_STILLS):
            yield Frame.from_rgb(self.train[still][0])
        for clip in self.clips:
            with open_source(clip) as source:
                yield from islice(source, 0, FRAME_STEP * CALIBRATION_FRAMES, FRAME_STEP)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Average mIoU in percent in float32 and in the other precision, and the percent of pixels labelled alike."""

    pictures: int
    float_miou: float
    miou: float
    agreement: float

    def lost(self) -> float:
        return self.float_miou - self.miou


def convert(
    graphs: Graphs, precision: str, material: Material, geometry: Geometry, say: Say = lambda note: None
) -> tuple[dict[str, ModelProto], dict[str, Any]]:
    """(the graphs in that precision, "fp16" or "int8", and what the manifest says of it: its `conversion`).

    Raises BundleError where the precision costs more than LIMITS allow.
    """
    record: dict[str, Any] = {}
    if precision == "fp16":
        lowered = {
            name: model if name in (LABELS, LABELS_PLAIN) else half.to_half(model)
            for name, model in graphs.items()
        }
    else:
        keyframe, record = _quantised(graphs[KEYFRAME], material, geometry, say)
        lowered = {**graphs, KEYFRAME: keyframe}
    say(f"judging {precision} on {len(material.held_out)} held-out pictures")
    found = judge(graphs, lowered, material, geometry)
    check(precision, found, material.slice_of)
    record["held_out"] = {
        "pictures": f"{found.pictures}, {material.slice_of}, each in {INTERVAL} drifting views",
        "average_miou": {"fp32": round(found.float_miou, 2), precision: round(found.miou, 2)},
        "agreement": round(found.agreement, 2),
    }
    return lowered, record


def check(precision: str, found: Judgement, slice_of: str) -> None:
    """Raise BundleError where the precision costs more than it may; NaN is too much."""
    limit = LIMITS[precision]
    if found.lost() <= limit.points and found.agreement >= limit.agreement:
        return
    raise BundleError(
        f"export: in {precision} the bundle loses {found.lost():.2f} points of average mIoU (at most {limit.points:g}) "
        f"and labels {found.agreement:.2f} % of the pixels as in fp32 (at least {limit.agreement:g}), on the held-out "
        f"pictures ({slice_of}); nothing was written: use --precision fp32{' or fp16' * (precision == 'int8')}"
    )


def _quantised(
    keyframe: ModelProto, material: Material, geometry: Geometry, say: Say
) -> tuple[ModelProto, dict[str, Any]]:
    frames = 0

    def feeds() -> Iterator[Feed]:
        nonlocal frames
        for frame in material.calibration():
            frames += 1
            yield feed(frame, geometry)

    say("calibrating on pictures of the training split and its clips")
    seen = quantise.observe(keyframe, feeds())
    say(f"measuring {len(quantise.convolutions(keyframe))} convolutions, each quantised alone")
    pictures = [material.held_out[i][0] for i in _spread(material.held_out, SENSITIVITY_STILLS)]
    errors = sensitivity(keyframe, seen, [feed(Frame.from_rgb(picture), geometry) for picture in pictures])
    left = sensitive(errors)
    sources = ["pictures of the training split", *(f"clip {clip.stem}" for clip in material.clips)]
    record = {
        "calibrated_on": f"{frames} frames: {', '.join(sources)}",
        "left_in_float": left,
        "left_because": f"alone more than {SHARE_LEFT:.0%} of the error of the scores that all convolutions cause",
    }
    return quantise.quantise(keyframe, seen, left=left), record


def sensitivity(keyframe: ModelProto, seen: "TensorsData", feeds: Sequence[Feed]) -> dict[str, float]:
    """For each convolution, quantised alone: the squared error of the scores over their square, meaned over feeds."""
    session = _session(keyframe)
    expected = [session.run(None, feed)[0] for feed in feeds]
    errors = {}
    for name in quantise.convolutions(keyframe):
        session = _session(quantise.quantise(keyframe, seen, only=[name]))
        found = (session.run(None, feed)[0] for feed in feeds)
        shares = [np.square(a - b).mean() / np.square(b).mean() for a, b in zip(found, expected, strict=True)]
        errors[name] = float(np.mean(shares))
    return errors


def sensitive(errors: Mapping[str, float]) -> list[str]:
    """Those whose error is more than SHARE_LEFT of the sum of all, in order of name."""
    most = SHARE_LEFT * sum(errors.values())
    return sorted(name for name, error in errors.items() if error > most)


def judge(graphs: Graphs, lowered: Graphs, material: Material, geometry: Geometry) -> Judgement:
    """Both sets of graphs over drifting views of each held-out picture: a keyframe, then propagated frames."""
    classes = len(material.classes)
    truth, alike = (Confusion(classes), Confusion(classes)), 0.0
    pictures = len(material.held_out)
    sides = _Side(graphs), _Side(lowered)
    for index in range(pictures):
        views = list(drifting_views(*material.held_out[index]))
        expected, found = (side.labels([frame for frame, _ in views], geometry) for side in sides)
        for (_, labels), ours, theirs in zip(views, expected, found, strict=True):
            truth[0].add(labels, ours)
            truth[1].add(labels, theirs)
            alike += float(np.mean(ours == theirs))
    return Judgement(
        pictures=pictures,
        float_miou=truth[0].miou(),
        miou=truth[1].miou(),
        agreement=100 * alike / (pictures * INTERVAL),
    )


def drifting_views(picture: NDArray[np.uint8], labels: Labels) -> Iterator[tuple[Frame, Labels]]:
    """INTERVAL views of a still [H,W,3] and its labels [H,W]: each 1/80 of its width further right, 1/180 down."""
    height, width = labels.shape
    down, right = height // 180, width // 80
    rows, columns = height - (INTERVAL - 1) * down, width - (INTERVAL - 1) * right
    for k in range(INTERVAL):
        part = slice(k * down, k * down + rows), slice(k * right, k * right + columns)
        yield Frame.from_rgb(picture[part], index=k), labels[part]


class _Side:
    """One set of graphs under ONNX Runtime, float16 and int8 rounded as their graphs say."""

    def __init__(self, graphs: Graphs) -> None:
        self._keyframe, self._propagate = (_session(graphs[name]) for name in (KEYFRAME, PROPAGATE))

    def labels(self, frames: Sequence[Frame], geometry: Geometry) -> list[Labels]:
        """Labels [H,W] of each: the first is a keyframe, the others are propagated."""
        scores: Float32 = self._keyframe.run(None, feed(frames[0], geometry))[0]
        found = [upsample_labels(scores[0], frames[0].height, frames[0].width)]
        grid = geometry.plan(frames[0].height, frames[0].width).grid
        previous = prepare.current(frames[0], grid)
        for frame in frames[1:]:
            current = prepare.current(frame, grid)
            scores = self._propagate.run(None, {"current": current, "previous": previous, "scores": scores})[
                0
            ]
            found.append(upsample_labels(scores[0], frame.height, frame.width))
            previous = current
        return found


def _session(model: ModelProto) -> Any:
    """ONNX Runtime on one thread, so that the same graph gives the same numbers on any number of processors.

    Without the optimisations that fuse QDQ pairs into integer kernels: these saturate on some processors.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC
    if half.is_half(model):
        model = half.rounding(model)
        options.graph_optimization_level = levels.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def feed(frame: Frame, geometry: Geometry) -> Feed:
    """keyframe.onnx's inputs for a frame, as the engine prepares them."""
    sizes = geometry.plan(frame.height, frame.width)
    return {"frame": prepare.keyframe(frame, sizes.keyframe), "grid": np.array(sizes.grid, np.int64)}


def _spread(stills: Stills, most: int) -> list[int]:
    """Indices of `most` stills, or of all where there are fewer, spread evenly."""
    count = min(most, len(stills))
    return [i * len(stills) // count for i in range(count)]
