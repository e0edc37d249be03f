"""Writes docs/results.md: every figure is measured by the command that stands beside it.

    python docs/make_results.py --data DIR                 # everything that is not measured yet, then the page
    python docs/make_results.py --data DIR --only speed    # this section anew

DIR holds camvid/, clips/ and pseudo/. What a command measured is kept in --cache, one JSON file a section, and is
used again as long as the command, the bundle and the machine are the same; so an interrupted run goes on where it was.
There, too, lie accuracy.measured.json and familiarity.measured.json, for `export --accuracy` and `--familiarity`.
Pictures are made of the Udacity clips alone, whose licence (MIT) allows it.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

UNSEEN = ("udacity_vehdet_test_video", "orange_road", "bikes")  # nothing was trained on these
SHOWN = ("udacity_solidWhiteRight", "udacity_vehdet_test_video")
INTERVALS = "1,2,3,4,5"
SPEED_INTERVALS, SPEED_REPEATS = (1, 4), 3
CURVE = "accuracy-throughput.png"
Facts = dict[str, Any]

# Lee, Chen and Peng (arXiv 2103.08834), CamVid test: network, input, mIoU in percent, frames/s on their GPU.
PUBLISHED = (
    ("BiSeNet-R18, per frame", "720x540", "66.6", "142"),
    ("BiSeNet-R18, per frame", "480x360", "60.7", "232"),
    ("GSVNet-BN, l=2, average", "720x540", "65.9", "210"),
    ("GSVNet-BN, l=3, average", "720x540", "64.8", "250"),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the page is made from. only: sections to measure anew; empty: those that are missing."""

    data: Path
    output: Path
    bundle: str
    cache: Path
    only: tuple[str, ...] = ()
    max_frames: int | None = None
    threads: int | None = None
    precisions: str = "f32"  # those that this processor computes in

    def clip(self, name: str) -> str:
        return str(self.data / "clips" / f"{name}.mp4")

    def limits(self) -> list[str]:
        given = [] if self.max_frames is None else ["--max-frames", str(self.max_frames)]
        return given + ([] if self.threads is None else ["--threads", str(self.threads)])


@dataclass(frozen=True, kw_only=True)
class Section:
    """commands: words after `gsvnet-engine`, without --json. lines: markdown from what they printed, one after another.

    unshown: words that the page leaves out, such as where the output goes.
    """

    name: str
    title: str
    commands: list[list[str]]
    lines: Callable[[list[Facts]], Iterator[str]]
    unshown: frozenset[str] = field(default_factory=frozenset)


def sections(options: Options) -> list[Section]:
    """The page, from top to bottom. Sections with the same commands share one measurement."""
    evaluate, limits = ["evaluate", options.bundle], options.limits()
    data = ["--data", str(options.data)]
    run = [
        *evaluate, *data, "--split", "val", "--intervals", INTERVALS,
        "--backend", "openvino,onnxruntime", "--cpu-precision", options.precisions,
        "--consistency", "--curve", str(options.output.parent / CURVE), "--force", *limits,
    ]  # fmt: skip
    unseen = [word for name in UNSEEN for word in ("--agreement", options.clip(name))]
    machine = ["--agreement", options.clip(UNSEEN[0]), "--machine-labels", str(options.data / "pseudo")]
    familiar = ["--familiarity", str(options.data / "clips")]
    speed = [
        ["run", options.clip(UNSEEN[0]), "--bundle", options.bundle, "--interval", str(interval),
         "-o", str(options.cache / "speed.mp4"), "--force", *limits]
        for _ in range(SPEED_REPEATS)
        for interval in SPEED_INTERVALS
    ]  # fmt: skip
    return [
        Section(name="machine", title="Machine", commands=[["doctor"]], lines=machine_lines),
        Section(
            name="keyframe",
            title="Keyframe network on CamVid test",
            commands=[[*evaluate, *data, "--split", "test", "--intervals", "1", *limits]],
            lines=keyframe_lines,
        ),
        Section(name="run", title="Intervals on CamVid's 15 Hz run", commands=[run], lines=run_lines),
        Section(name="boundary", title="Outlines: boundary F-score", commands=[run], lines=boundary_lines),
        Section(name="consistency", title="Temporal consistency", commands=[run], lines=consistency_lines),
        Section(
            name="agreement",
            title="Agreement with interval 1 on clips that nothing was trained on",
            commands=[[*evaluate, *unseen, "--intervals", INTERVALS, "--consistency", *limits]],
            lines=agreement_lines,
        ),
        Section(
            name="machine-labels",
            title="Agreement with machine labels",
            commands=[[*evaluate, *machine, "--intervals", INTERVALS, *limits]],
            lines=machine_label_lines,
        ),
        Section(
            name="familiarity",
            title="Which clips `run` warns of",
            commands=[[*evaluate, *familiar, *data, *limits]],
            lines=familiarity_lines,
        ),
        Section(
            name="speed",
            title="Speed, end to end",
            commands=speed,
            lines=speed_lines,
            unshown=frozenset({"-o", str(options.cache / "speed.mp4"), "--force"}),
        ),
    ]


# What is measured


class Measurements:
    """What the sections' commands print: from the cache, or by running them, each command once."""

    def __init__(self, options: Options, circumstances: str) -> None:
        self.circumstances = circumstances
        self._options, self._done = options, dict[str, list[Facts]]()

    def of(self, section: Section) -> list[Facts] | None:
        """None where --only leaves out what was never measured."""
        options = self._options
        sharing = [other.name for other in sections(options) if other.commands == section.commands]
        if sharing[0] in self._done:
            return self._done[sharing[0]]
        key = hashlib.sha256(json.dumps([section.commands, self.circumstances]).encode()).hexdigest()
        path = options.cache / f"{sharing[0]}.json"
        again = any(name in options.only for name in sharing)
        kept: Facts = json.loads(path.read_text()) if path.is_file() and not again else {}
        if kept.get("key") == key:
            facts: list[Facts] = kept["facts"]
        elif options.only and not again:
            return None
        else:
            facts = [ask(command) for command in section.commands]
            path.write_text(json.dumps({"key": key, "facts": facts}))
        self._done[sharing[0]] = facts
        return facts


def ask(command: Sequence[str]) -> Facts:
    """What `gsvnet-engine ... --json` prints. Ends the program, with the command's own error line, where it fails."""
    print("gsvnet-engine", *command, file=sys.stderr)
    done = subprocess.run(
        [sys.executable, "-m", "gsvnet_engine", *command, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 7):  # 7: part of a clip was unreadable
        raise SystemExit(done.stderr.strip() or done.stdout.strip())
    facts: Facts = json.loads(done.stdout)
    return facts


def circumstances(stated: Facts, doctor: Facts) -> str:
    """What has to be the same for a kept figure to hold: the bundle's graphs and sizes, the machine, the runtimes.

    stated, doctor: what `inspect` and `doctor` say.
    """
    runtimes = {name: doctor["packages"].get(name) for name in ("openvino", "onnxruntime")}
    facts = [stated[name] for name in ("graphs", "sizes", "interval", "precision")]
    return json.dumps([facts, runtimes, doctor["cpu"], doctor["gsvnet_engine"]], sort_keys=True)


def keep_for_export(measurements: "Measurements", options: Options) -> None:
    """What `export --accuracy` and `export --familiarity` take, into the cache."""
    kept = {section.name: measurements.of(section) for section in sections(options)}
    keyframe, run, familiar = (kept[name] for name in ("keyframe", "run", "familiarity"))
    if keyframe and run:
        text = json.dumps(accuracy_of(keyframe[0], run[0]), indent=1)
        (options.cache / "accuracy.measured.json").write_text(text + "\n")
    if familiar:
        (options.cache / "familiarity.measured.json").write_text(json.dumps(familiar[0]) + "\n")


def accuracy_of(keyframe: Facts, run: Facts) -> Facts:
    """A manifest's `accuracy`, from the sections of these names."""
    rows = by_subject(run["rows"])[0]

    def by_interval(name: str) -> dict[str, float]:
        return {str(row["interval"]): round(row[name], 1) for row in rows}

    return {
        "CamVid test mIoU in percent, keyframe network": round(keyframe["rows"][0]["average_miou"], 1),
        "intervals": {
            "dataset": "CamVid's 15 Hz run (val)",
            "average_miou": by_interval("average_miou"),
            "minimum_miou": by_interval("minimum_miou"),
        },
        "speed_up": {str(row["interval"]): round(row["fps"] / rows[0]["fps"], 2) for row in rows},
        "measured by": f"gsvnet-engine evaluate BUNDLE --data DIR --split test|val ({by(rows[0])})",
    }


# What is written


def page(options: Options, measurements: Measurements) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield f"Of the bundle `{Path(options.bundle).name}`, written by `python docs/make_results.py --data DIR`. DIR holds"
    yield "CamVid, clips and machine labels. Every figure is what the command under its heading printed."
    if options.max_frames is not None:
        yield ""
        yield f"**A trial: only {options.max_frames} frames of everything were read.**"
    for section in sections(options):
        facts = measurements.of(section)
        yield from ("", f"## {section.title}", "", "```sh")
        yield from dict.fromkeys(shown(command, section, options) for command in section.commands)
        yield from ("```", "")
        if facts is None:
            yield f"Not measured yet: `python docs/make_results.py --data DIR --only {section.name}`"
        else:
            yield from section.lines(facts)
    yield from picture_lines(options, measurements.circumstances)
    yield from published_lines()


def shown(command: Sequence[str], section: Section, options: Options) -> str:
    """The command as a reader would type it."""
    words = [word for word in command if word not in section.unshown]
    text = " ".join(["gsvnet-engine", *words])
    return text.replace(str(options.output.parent / CURVE), CURVE).replace(str(options.data), "DIR")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(row)} |"


def machine_lines(facts: list[Facts]) -> Iterator[str]:
    doctor = facts[0]
    packages = ("openvino", "onnxruntime", "numpy", "av", "opencv-python")
    versions = ", ".join(
        f"{name} {doctor['packages'][name]}" for name in packages if doctor["packages"].get(name)
    )
    yield f"{doctor['cpu']['model']} ({', '.join(doctor['cpu']['features'])}); gsvnet-engine {doctor['gsvnet_engine']},"
    yield f"Python {doctor['python']}, {versions}."


def keyframe_lines(facts: list[Facts]) -> Iterator[str]:
    (found,) = facts
    row = found["rows"][0]
    yield f"**{row['average_miou']:.1f} mIoU** in percent, {found['frames']} pictures of 480x360, by {by(row)}."
    yield f"Boundary F-score {percent(row['average_boundary_f'])}."
    yield ""
    yield from table(
        ["class", "IoU in percent"], [[name, f"{iou:.1f}"] for name, iou in found["per_class"].items()]
    )
    if found["absent"]:
        yield from ("", f"Without ground truth there, so in no mean: {', '.join(found['absent'])}.")


def run_lines(facts: list[Facts]) -> Iterator[str]:
    (found,) = facts
    first, *others = by_subject(found["rows"])
    yield f"{found['frames']} labelled frames, mIoU in percent, by {by(first[0])}. *Average* pools the distances"
    yield "0..l-1 from the keyframe, *minimum* is the largest alone; frames/s are those of the networks alone."
    yield ""
    yield from six(first, "miou", fps=True)
    for rows in others:
        yield from ("", f"By {by(rows[0])}:", "")
        yield from six(rows, "miou", fps=True)
    yield from ("", f"![Accuracy over throughput]({CURVE})", "")
    yield "IoU of each class by the number of frames since the keyframe:"
    yield ""
    distances = by_subject(found["distances"])[0]
    yield from table(
        ["class", *(str(row["distance"]) for row in distances)],
        [[name, *(f"{row['per_class'][name]:.1f}" for row in distances)] for name in found["per_class"]],
    )
    if found["absent"]:
        yield from ("", f"Without ground truth there, so in no mean: {', '.join(found['absent'])}.")


def boundary_lines(facts: list[Facts]) -> Iterator[str]:
    yield "Percent, within 0.0075 of the picture's diagonal; the definition is in `evaluation/boundary.py`."
    yield ""
    yield from six(by_subject(facts[0]["rows"])[0], "boundary_f", fps=False)


def consistency_lines(facts: list[Facts]) -> Iterator[str]:
    yield "Percent of the labels that stay the same along the motion of the picture, which an optical flow that no"
    yield "bundle takes part in tells; the definition is in `evaluation/consistency.py`."
    yield ""
    rows = by_subject(facts[0]["rows"])[0]
    kinds = ("consistency", "repeat_consistency", "truth_consistency")
    yield from table(
        ["interval", "propagated", "keyframe repeated", "ground truth"],
        [[str(row["interval"]), *(percent(row[kind]) for kind in kinds)] for row in rows],
    )


def agreement_lines(facts: list[Facts]) -> Iterator[str]:
    yield "Percent of pixels labelled as at interval 1: how well propagation follows the keyframe network, not whether"
    yield "that is right; and temporal consistency."
    yield ""
    yield from table(
        ["clip", "interval", "propagated", "repeated", "consistency", "repeated"],
        [
            [
                Path(row["video"]).stem,
                str(row["interval"]),
                f"{100 * row['agreement']:.1f}",
                f"{100 * row['repeat_agreement']:.1f}",
                percent(row["consistency"]),
                percent(row["repeat_consistency"]),
            ]
            for row in facts[0]["agreement"]
        ],
    )


def machine_label_lines(facts: list[Facts]) -> Iterator[str]:
    rows = facts[0]["machine_labels"]
    yield f"{rows[0]['frames']} frames of {Path(rows[0]['video']).stem}, labelled by other networks, which err too: an"
    yield "agreement, no accuracy. In percent of pixels, and as mean over the classes of intersection over union. The"
    yield "best constant label map says at each pixel what the labels say there most often."
    yield ""
    cells = [
        [str(row["interval"])]
        + [
            f"{100 * row[f'{kind}_{what}']:.1f}"
            for what in ("agreement", "class_agreement")
            for kind in ("average", "repeat_average", "constant")
        ]
        for row in rows
    ]
    three = ("propagated", "repeated", "constant map")
    yield from table(["interval", *three, *(f"{kind}, classes" for kind in three)], cells)


def familiarity_lines(facts: list[Facts]) -> Iterator[str]:
    survey = facts[0]["familiarity"][0]
    entry = survey["manifest"]
    count, alarms = entry["measured"]["keyframes"], entry["measured"]["known windows warned of"]
    yield "The winning class's probability, averaged over a keyframe. `run` warns where its median over the first"
    yield f"{count} keyframes is below {entry['threshold']:.3f}, which 2 % of the known pictures are below; it warns"
    yield f"of {alarms:.1%} of the known windows of {count} pictures."
    yield ""
    yield from table(
        ["material", "lowest", "median", "highest", "windows", "below", "`run` warns"],
        [
            [row["name"] + (" (known)" if row["known"] else "")]
            + [f"{row[kind]:.3f}" for kind in ("lowest", "median", "highest")]
            + [str(row["windows"]), str(row["warned"]), "yes" if row["run_warns"] else "no"]
            for row in survey["materials"]
        ],
    )


def speed_lines(facts: list[Facts]) -> Iterator[str]:
    first = facts[0]
    height, width = first["inputs"][0]["size"]
    yield f"Decoding, overlay and H.264 encoding included, {width}x{height}, {first['frames']} frames, by"
    yield f"{first['backend']} {first['cpu_precision']}; medians of {SPEED_REPEATS} alternating runs."
    yield ""
    rows = []
    for interval in SPEED_INTERVALS:
        runs = [found for found in facts if found["interval"] == interval]
        stages = {
            name: median(found["stages_ms"][name]["p50"] for found in runs if name in found["stages_ms"])
            for name in ("keyframe", "propagate")
            if any(name in found["stages_ms"] for found in runs)
        }
        frames_s = median(found["fps"] for found in runs)
        spread = f"{min(found['fps'] for found in runs):.1f}..{max(found['fps'] for found in runs):.1f}"
        cells = [f"{stages[name]:.1f}" if name in stages else "-" for name in ("keyframe", "propagate")]
        rows.append([str(interval), f"{frames_s:.1f}", spread, *cells])
    yield from table(["interval", "frames/s", "lowest..highest", "keyframe ms", "propagate ms"], rows)


def picture_lines(options: Options, circumstances: str) -> Iterator[str]:
    """Overlays of the clips that may be shown: a propagated frame at interval 4, beside the same per frame."""
    yield from ("", "## Pictures", "", "```sh")
    yield "gsvnet-engine run CLIP --interval 4 --compare 1"
    yield from (
        "```",
        "",
        "Propagated, three frames after the keyframe (left), and segmented per frame (right).",
    )
    for name in SHOWN:
        picture = options.output.parent / f"results_{name}.jpg"
        if options.only and "pictures" not in options.only:
            made = picture.is_file()
        else:
            made = True
            draw(options, name, picture, circumstances)
        yield ""
        yield f"![{name}]({picture.name})" if made else f"{name}: not made yet (`--only pictures`)"


def draw(options: Options, name: str, picture: Path, circumstances: str) -> None:
    import av
    import cv2

    video, stamp = options.cache / f"{name}.mp4", options.cache / f"{name}.key"
    number = 19 if options.max_frames is None else max(options.max_frames // 4 * 4 - 1, 0)
    key = hashlib.sha256(f"{number} {circumstances}".encode()).hexdigest()
    if picture.is_file() and stamp.is_file() and stamp.read_text() == key and "pictures" not in options.only:
        return
    command = ["run", options.clip(name), "--bundle", options.bundle, "--interval", "4", "--compare", "1"]
    ask([*command, "--max-frames", str(number + 1), "-o", str(video), "--force"])
    with av.open(str(video)) as container:
        *_, last = container.decode(video=0)
    shown = last.to_ndarray(format="bgr24")
    size = 1600, round(shown.shape[0] * 1600 / shown.shape[1])
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    cv2.imwrite(str(picture), cv2.resize(shown, size, interpolation=cv2.INTER_AREA), quality)
    stamp.write_text(key)


def published_lines() -> Iterator[str]:
    yield from ("", "## Published, for orientation", "")
    yield "CamVid test in the paper (arXiv 2103.08834), on a GPU. Its networks saw pictures made from CamVid's 960x720"
    yield "originals; ours saw 480x360, enlarged to that geometry: the figures do not compare one to one."
    yield ""
    yield from table(["network", "input", "mIoU in percent", "frames/s"], PUBLISHED)


def six(rows: Sequence[Facts], what: str, *, fps: bool) -> Iterator[str]:
    """Propagated, warp only and repeated, average and minimum, over the intervals."""
    kinds = {"": "propagated", "warp_": "warp only", "repeat_": "keyframe repeated"}
    lines = [
        [f"{name}, {pool}", *(percent(row[f"{prefix}{pool}_{what}"]) for row in rows)]
        for pool in ("average", "minimum")
        for prefix, name in kinds.items()
    ]
    if fps:
        lines.append(["networks, frames/s", *(f"{row['fps']:.1f}" for row in rows)])
    yield from table(["interval", *(str(row["interval"]) for row in rows)], lines)


def by_subject(rows: Sequence[Facts]) -> list[list[Facts]]:
    found: dict[str, list[Facts]] = {}
    for row in rows:
        found.setdefault(by(row), []).append(row)
    return list(found.values())


def by(row: Facts) -> str:
    return f"{row['backend']} {row['precision']}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure, and write docs/results.md.")
    parser.add_argument("--data", type=Path, required=True, help="the folder of camvid/, clips/ and pseudo/")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results.md")
    parser.add_argument("--bundle", default="street")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/results"), help="where measurements are kept"
    )
    parser.add_argument("--only", action="append", default=[], help="a section to measure anew; repeatable")
    parser.add_argument("--max-frames", type=int, help="a trial on the first frames of everything")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    options = Options(**{**vars(given), "only": tuple(given.only)})
    names = [section.name for section in sections(options)] + ["pictures"]
    for name in options.only:
        if name not in names:
            parser.error(f"--only {name}: there are {', '.join(names)}")
    options.cache.mkdir(parents=True, exist_ok=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    stated, doctor = ask(["inspect", options.bundle]), ask(["doctor"])
    if any("bf16" in feature for feature in doctor["cpu"]["features"]):
        options = replace(options, precisions="f32,bf16")
    measurements = Measurements(options, circumstances(stated, doctor))
    options.output.write_text("\n".join(page(options, measurements)) + "\n")
    keep_for_export(measurements, options)
    print(options.output, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
