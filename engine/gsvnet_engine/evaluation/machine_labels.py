"""Agreement with machine labels of a video: other networks' opinion, never a ground truth, so never called accuracy.

`<frame number>.png`, numbered from 0, holds class ids of that frame's size; C (the number of classes) and 255: no
opinion. It is measured as ground truth would be: at interval l every labelled frame is reached from keyframes 0..l-1
frames before it. Beside it stands the best constant label map: at each pixel the label that is most frequent there
over the measured frames. No labelling that ignores the picture agrees in more pixels, so what is above it was seen.
That is true of the pixels only: of the mean over the classes another such labelling may have more.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.confusion import Confusion
from gsvnet_engine.evaluation.dataset import Labels, read_labels, shown
from gsvnet_engine.evaluation.networks import RuntimeOptions
from gsvnet_engine.evaluation.protocol import evaluate
from gsvnet_engine.frames import Frame
from gsvnet_engine.video import open_source

_OPTIONS = RuntimeOptions()
_NO_OPINION = 255


@dataclass(frozen=True, kw_only=True)
class MachineAgreement:
    """Shares (0..1) of the machine-labelled pixels that are labelled alike, pooled over the distances (average) and at
    the largest alone (minimum); `class`: mean over the classes of intersection over union instead. constant: the best
    constant label map."""

    interval: int
    frames: int
    average_agreement: float
    minimum_agreement: float
    repeat_average_agreement: float
    repeat_minimum_agreement: float
    constant_agreement: float
    average_class_agreement: float
    minimum_class_agreement: float
    repeat_average_class_agreement: float
    repeat_minimum_class_agreement: float
    constant_class_agreement: float


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """Frame `number` of the video, and the file of its labels where it has one."""

    video: "_Video"
    number: int
    labels: Path | None
    classes: int

    @property
    def name(self) -> str:
        return f"{self.video.name} frame {self.number}"

    def read(self, index: int = 0) -> tuple[Frame, Labels | None]:
        frame = self.video.frame(self.number)
        if self.labels is None:
            return frame, None
        return frame, _opinions(self.labels, (frame.height, frame.width), self.classes)


@dataclass(kw_only=True)
class MachineLabels:
    """A video with machine labels of some of its frames, as a data set. Close it after use."""

    name: str
    folder: Path
    classes: tuple[str, ...]
    labels: dict[int, Path]
    video: "_Video"
    split = "machine labels"
    is_video = True
    gap = None

    @classmethod
    def open(cls, video: str, folder: Path, classes: tuple[str, ...]) -> "MachineLabels":
        """The PNGs of `folder/<the video's name>`, or of the folder itself. Raises InputError where there are none."""
        own = folder / Path(video).stem
        folder = own if own.is_dir() else folder
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the one of the machine labels' PNGs")
        labels: dict[int, Path] = {}
        for path in sorted(folder.glob("*.png")):
            if not (path.stem.isascii() and path.stem.isdigit()):
                raise InputError(f"{path}: its name must be the frame's number, from 0, as in 000012.png")
            number = int(path.stem)
            if number in labels:
                raise InputError(f"{path}: {labels[number].name} is of frame {number}, too; keep one of them")
            labels[number] = path
        if not labels:
            raise InputError(f"{folder}: holds no <frame number>.png")
        reader = _Video(video, labels[max(labels)])
        return cls(name=video, folder=folder, classes=classes, labels=labels, video=reader)

    def close(self) -> None:
        self.video.close()

    @property
    def source(self) -> str:
        return str(self.folder)

    def clips(self, longest: int, max_frames: int | None = None) -> Sequence[Sequence[_Picture]]:
        """The frames that the labelled ones need, in runs without gaps, so that each is segmented once."""
        targets = self._targets(longest, max_frames)
        needed = sorted({n for b in targets for n in range(b - longest + 1, b + 1)})
        clips: list[list[_Picture]] = []
        for number in needed:
            if not clips or clips[-1][-1].number != number - 1:
                clips.append([])
            clips[-1].append(
                _Picture(
                    video=self.video,
                    number=number,
                    labels=self.labels.get(number),
                    classes=len(self.classes),
                )
            )
        return clips

    def check(self, longest: int, max_frames: int | None = None) -> None:
        """Raise InputError where no frame can be measured, or the labels of the first that can are not fit for it."""
        first, *_ = self._targets(longest, max_frames)
        _opinions(self.labels[first], None, len(self.classes))

    def constant(self, longest: int, max_frames: int | None = None) -> Confusion:
        """What the best constant label map comes to on the same frames. Raises InputError for two sizes."""
        paths = [self.labels[number] for number in self._targets(longest, max_frames)]
        truths = [_opinions(path, None, len(self.classes)) for path in paths]
        for path, truth in zip(paths, truths, strict=True):
            if truth.shape != truths[0].shape:
                raise InputError(
                    f"{path}: is {shown(truth.shape)} where {paths[0].name} is {shown(truths[0].shape)}; machine "
                    "labels of one video are of one size: give the pictures of each size as a video of their own"
                )
        best = best_constant(truths, len(self.classes))
        found = Confusion(len(self.classes))
        for truth in truths:
            found.add(truth, best)
        return found

    def _targets(self, longest: int, max_frames: int | None) -> list[int]:
        """Numbers of the labelled frames, of the first `max_frames`, with `longest` - 1 frames before them."""
        limit = max(self.labels) + 1 if max_frames is None else max_frames
        targets = [number for number in sorted(self.labels) if longest - 1 <= number < limit]
        if not targets:
            raise InputError(
                f"{self.folder}: labels no frame from number {longest - 1} on"
                f"{'' if max_frames is None else f' and below {max_frames}'}; interval {longest} reads the "
                f"{longest - 1} frames before a labelled one"
            )
        return targets


def measure(
    bundle: Bundle,
    data: MachineLabels,
    intervals: Sequence[int],
    *,
    options: RuntimeOptions = _OPTIONS,
    max_frames: int | None = None,
) -> list[MachineAgreement]:
    """Agreement at each interval. Raises InputError for labels that do not fit the video."""
    constant = data.constant(max(intervals), max_frames)  # first, since it may find labels that do not fit
    found = evaluate(bundle, data, intervals, options=options, max_frames=max_frames)
    rows = []
    for interval in intervals:
        part, last = found.distances[:interval], found.distances[interval - 1]
        average = Confusion.pooled(distance.propagated for distance in part)
        repeated = Confusion.pooled(distance.repeated for distance in part)
        rows.append(
            MachineAgreement(
                interval=interval,
                frames=found.frames,
                average_agreement=average.agreement(),
                minimum_agreement=last.propagated.agreement(),
                repeat_average_agreement=repeated.agreement(),
                repeat_minimum_agreement=last.repeated.agreement(),
                constant_agreement=constant.agreement(),
                average_class_agreement=average.miou() / 100,
                minimum_class_agreement=last.propagated.miou() / 100,
                repeat_average_class_agreement=repeated.miou() / 100,
                repeat_minimum_class_agreement=last.repeated.miou() / 100,
                constant_class_agreement=constant.miou() / 100,
            )
        )
    return rows


def best_constant(truths: Sequence[Labels], classes: int) -> Labels:
    """[H,W] uint8: the most frequent of the labels below `classes` at each pixel (ties, and nowhere any: the lowest).

    truths: one or more, [H,W] uint8, of one size.
    """
    counts: NDArray[np.uint16] = np.zeros((classes, *truths[0].shape), np.uint16)
    for truth in truths:
        for c in np.unique(truth[truth < classes]):
            counts[c] += truth == c
    return np.asarray(counts.argmax(0), np.uint8)


class _Video:
    """Frames of a video by number; quick where the numbers rise."""

    def __init__(self, name: str, last_labels: Path) -> None:
        self.name = name
        self._last_labels = last_labels
        self._stack = ExitStack()
        self._frames: Iterator[Frame] = iter(())
        self._next: int | None = None

    def frame(self, number: int) -> Frame:
        """Raises InputError, naming the labels, where the video ends before."""
        if self._next is None or number < self._next:
            self.close()
            self._frames, self._next = iter(self._stack.enter_context(open_source(self.name))), 0
        for frame in self._frames:
            self._next += 1
            if self._next == number + 1:
                return frame
        raise InputError(
            f"{self._last_labels}: the video {self.name} has {self._next} frames, numbered from 0; "
            "give labels of this very video"
        )

    def close(self) -> None:
        self._stack.close()


def _opinions(path: Path, size: tuple[int, int] | None, classes: int) -> Labels:
    """Labels [H,W] uint8; InputError for another size than (H, W), or a value that is no class."""
    labels = read_labels(path, size)
    wrong = labels[(labels > classes) & (labels != _NO_OPINION)]
    if wrong.size:
        raise InputError(
            f"{path}: holds the value {wrong.max()}; machine labels are 0..{classes - 1}, and {classes} or "
            f"{_NO_OPINION} for no opinion"
        )
    return labels
