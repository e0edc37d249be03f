"""The whole of `gsvnet-engine adapt`: network and videos in, verified bundle and report out; resumable at each stage.

The work folder holds `run.json` (the settings, and the number of steps once it is known), `draft/` (a bundle with an
untrained PF, by which the engine itself runs the network as teacher), `cache/`, `training/` and `report.json`.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError, OutputError, UsageError
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Fixed, Geometry, Scaled, ShortSide, Size
from gsvnet_engine.segmenter import Segmenter
from gsvnet_export import onnx_graphs, verify
from gsvnet_export.adapt import report, wrap
from gsvnet_export.adapt.classes import class_list
from gsvnet_export.adapt.foreign import Foreign, ForeignOptions, inspect_network
from gsvnet_export.adapt.videos import (
    CacheOptions,
    Run,
    TooLargeError,
    cache_runs,
    find_videos,
    frames_of,
    plan_runs,
)
from gsvnet_export.adapt.wrap import Normalisation
from gsvnet_export.bundles import ExportOptions, load_propagation, write_bundle
from gsvnet_export.cost import graph_cost
from gsvnet_export.networks.propagation import Propagation
from gsvnet_export.outputs import Say, check_writable, whole
from gsvnet_export.training import propagation as training
from gsvnet_export.training.loop import is_done
from gsvnet_export.training.propagation import PropagationRecipe, network_config
from gsvnet_export.training.windows import ClipCache, Windows

FEWEST_STEPS, MOST_STEPS = 20, 10_000
_TRIED_STEPS = 6
_OVERHEAD = 1.1  # of validation and saving, over the steps alone


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """What to adapt, from what, where to, and for how long. `steps` decides where given, else `minutes` of training.

    short_side: of the working size; None: 720, or 4/3 of a fixed input's. keyframe_scale: (numerator, denominator), for
    networks of a free input size.
    """

    network: Path
    videos: Path
    bundle: Path
    work: Path
    normalisation: Normalisation
    foreign: ForeignOptions = field(default_factory=ForeignOptions)
    name: str = ""
    class_names: Path | None = None
    license: str = "LicenseRef-unknown"
    interval: int = 4
    short_side: int | None = None
    keyframe_scale: Size = (3, 4)
    minutes: float = 60.0
    steps: int | None = None
    recipe: PropagationRecipe = field(default_factory=lambda: training.PRESETS["best"])
    held_out: tuple[Path, ...] = ()
    cache: CacheOptions = field(default_factory=CacheOptions)
    backend: str = "auto"
    resume: bool = False
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """The bundle, what verification measured, and how well it follows the network."""

    bundle: Bundle
    network: Foreign
    steps: int
    verified: verify.Measured
    report: report.Report


def adapt(options: AdaptOptions, say: Say) -> Adapted:
    """Make a bundle of somebody's network; `say` gets a line for each thing worth knowing on the way.

    In this order: what can be found wrong at once, the network's scores for every frame, training, export.
    """
    _check_targets(options)
    network = inspect_network(options.network, options.foreign)
    _describe(network, options, say)
    keyframe = wrap.keyframe_graph(network, options.normalisation)
    class_list(network.classes, options.class_names)
    held_out = _checked_held_out(options.held_out)
    videos = find_videos(options.videos, set(held_out), say)
    expected = _expected(network, options.normalisation)
    sizes, batches = _tried_sizes(network), (1, 2) if network.any_batch else (1,)
    spread = verify.verify_keyframe(keyframe, expected, sizes, batches)

    draft = _draft(options, network, keyframe)
    segmenter = Segmenter(draft, backend=options.backend)
    runs = plan_runs(videos, draft, options.cache, say)
    for size in held_out.values():
        draft.plan(*size)
    _settle(options, draft, [video.path.name for video in videos])
    say(f"running the network on the frames of {len(videos)} videos, where that is not done yet")
    try:
        cached = cache_runs(runs, options.work / "cache", draft, segmenter, say)
    except TooLargeError as error:
        raise InputError(f"{options.network}: {error}") from error
    pf, steps = _trained(options, network, cached, say)

    say("exporting, verifying, and measuring the agreement with the network on held-out frames")
    graphs = {"keyframe.onnx": keyframe, **onnx_graphs.propagation_graphs(pf, network.classes)}
    measured = verify.verify(graphs, expected, pf, sizes[:1], batches, unit=verify.unit_of(spread))
    sources = _sources(options, cached)
    trained = _write(options, options.work / "draft", graphs, network, sources, None)

    def original(picture: wrap.Float32) -> wrap.Float32:
        return network.scores(options.normalisation.apply(picture))

    found = report.measure(trained, _held_out(options, cached), original, options.backend)
    _write_json(options.work / "report.json", found.facts())
    bundle = _write(options, options.bundle, graphs, network, sources, found)
    return Adapted(bundle=bundle, network=network, steps=steps, verified=measured, report=found)


def geometry(options: AdaptOptions, network: Foreign) -> Geometry:
    """The bundle's size rules: a fixed input is the keyframe's size, whatever the source."""
    if network.size:  # 3/4 of the working size, as the paper's keyframes are
        four_thirds = 8 * ((min(network.size) + 5) // 6)
        return Geometry(working=ShortSide(options.short_side or four_thirds), keyframe=Fixed(network.size))
    return Geometry(
        working=ShortSide(options.short_side or 720),
        keyframe=Scaled(options.keyframe_scale, options.foreign.multiple),
    )


def steps_within(minutes: float, step_s: float) -> int:
    """Training steps that fit, within sensible bounds."""
    return int(min(MOST_STEPS, max(FEWEST_STEPS, 60 * minutes / (step_s * _OVERHEAD))))


def _checked_held_out(paths: tuple[Path, ...]) -> dict[Path, Size]:
    """The same, resolved, and their sizes; InputError where one cannot be measured on: now, not after the training."""
    sizes = {}
    for path in paths:
        frames = list(frames_of(Run(path, 0.0, max(report.INTERVALS))))
        if len(frames) < max(report.INTERVALS):
            raise InputError(
                f"{path}: begins with {len(frames)} consecutive frames, and {max(report.INTERVALS)} are needed to "
                "measure on; hold out another video"
            )
        sizes[path.resolve()] = (frames[0].height, frames[0].width)
    return sizes


def _check_targets(options: AdaptOptions) -> None:
    """Whether bundle and run can be written, and may be; nothing is changed."""
    check_writable(options.bundle, "-o", beside=True)
    check_writable(options.work, "--work")
    if (options.bundle / "manifest.json").exists() and not options.force:
        raise OutputError(f"{options.bundle}: holds a bundle already; add --force, or name another folder")
    settings = options.work / "run.json"
    if settings.is_dir():
        raise OutputError(f"{settings}: is a folder; remove it, or name another folder with --work")
    if settings.exists() and not options.resume and not options.force:
        raise UsageError(
            f"{options.work}: holds a run already; go on with --resume, begin anew with --force, or name "
            "another folder with --work"
        )


def _forget(options: AdaptOptions) -> None:
    """Remove the run that --force replaces; what has been cached stays."""
    training_folder = options.work / "training"
    try:
        if training_folder.exists():
            shutil.rmtree(training_folder)
        (options.work / "run.json").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{options.work}: the run in it cannot be replaced ({error.strerror}); name another folder with --work"
        ) from error


def _describe(network: Foreign, options: AdaptOptions, say: Say) -> None:
    size = "free size" if network.size is None else "{}x{}".format(*reversed(network.size))
    kind = "probabilities" if network.probabilities else "scores"
    say(
        f"{network.path}: {network.layout.upper()} input of {size}; {network.classes} classes, "
        f"{network.output_layout.upper()} {kind} in {network.output!r}"
    )
    if network.like_sigmoid and options.foreign.scores == "auto":
        say("note: scores lie in 0..1 but do not sum to one; after a sigmoid, give --scores probabilities")


def _expected(network: Foreign, normalisation: Normalisation) -> verify.Keyframe:
    return lambda frame: wrap.reference_scores(network, normalisation, frame)


def _tried_sizes(network: Foreign) -> tuple[Size, ...]:
    height, width = network.tried
    return ((height, width),) if network.size else ((height, width), (width, height))


def _draft(options: AdaptOptions, network: Foreign, keyframe: Any) -> Bundle:
    """The bundle with an untrained PF."""
    pf = Propagation(network_config(options.recipe, network.classes)).eval()
    graphs = {"keyframe.onnx": keyframe, **onnx_graphs.propagation_graphs(pf, network.classes)}
    return _write(options, options.work / "draft", graphs, network, [], None)


def _settle(options: AdaptOptions, draft: Bundle, videos: list[str]) -> None:
    """Write the run's settings, or hold those of the run to be resumed against them; the last of all checks."""
    if options.force and not options.resume:
        _forget(options)
    path = options.work / "run.json"
    settings = {
        "keyframe": draft.manifest.graphs["keyframe.onnx"],
        "geometry": str(draft.manifest.geometry),
        "videos": videos,
        "cache": asdict(options.cache),
    }
    if not path.exists():
        _write_json(path, settings)
        return
    stored = _read_settings(path)
    changed = [name for name, value in settings.items() if stored.get(name) != value]
    if changed:
        raise UsageError(
            f"{options.work}: was begun with another {' and '.join(changed)} ({path}); repeat those settings, "
            "begin anew with --force, or name another folder with --work"
        )


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    with whole(path) as file:
        file.write(json.dumps(facts, indent=1).encode() + b"\n")


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); begin anew with --force") from error


def _trained(
    options: AdaptOptions, network: Foreign, cached: list[tuple[Run, ClipCache]], say: Say
) -> tuple[Propagation, int]:
    """(PF in eval mode, its steps): trained now, or to the end, or before."""
    folder, settings = options.work / "training", options.work / "run.json"
    stored = _read_settings(settings)
    windows = Windows(
        clips=[clip for _, clip in cached],
        stills=None,
        held_out_stills=None,
        description={"sources": _sources(options, cached)},
    )
    if "steps" not in stored:
        steps = options.steps or _steps_for(options, network, windows, say)
        stored |= {"steps": steps}
        _write_json(settings, stored)
    steps = int(stored["steps"])
    if options.steps not in (None, steps):
        raise UsageError(
            f"{options.work}: was begun with {steps} steps; leave out --steps, or name another --work"
        )
    checkpoint = folder / "checkpoint.safetensors"
    if not is_done(checkpoint, steps):
        recipe = replace(options.recipe, steps=steps)
        training.train_propagation(
            folder, recipe, network.classes, windows, resume=(folder / "config.json").exists()
        )
    return load_propagation(checkpoint)[0], steps


def _steps_for(options: AdaptOptions, network: Foreign, windows: Windows, say: Say) -> int:
    """Time a few steps of a network that is thrown away."""
    model = Propagation(network_config(options.recipe, network.classes)).train()
    clips = training.held_out_tail(windows.clips)[0]
    segmentation = training.SegmentationLoss(class_weights=None, lovasz=options.recipe.lovasz)
    times = []
    for step in range(_TRIED_STEPS):
        start = perf_counter()
        loss = training.window_loss(
            model, training.draw(step, options.recipe, clips, None), options.recipe, segmentation
        )
        loss.backward()  # type: ignore[no-untyped-call]
        times.append(perf_counter() - start)
    step_s = float(np.mean(times[1:]))
    steps = steps_within(options.minutes, step_s)
    say(
        f"{step_s:.2f} s a step: {steps} steps, about {steps * step_s * _OVERHEAD / 60:.0f} minutes of training"
    )
    return steps


def _sources(options: AdaptOptions, cached: list[tuple[Run, ClipCache]]) -> list[str]:
    """What the manifest says PF was trained on."""
    names = list(dict.fromkeys(run.video.stem for run, _ in cached))
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return [
        _printable(f"the keyframe network as its author trained it: {options.network.name}"),
        _printable(f"PF: windows of the videos {shown}, unlabelled"),
    ]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _write(
    options: AdaptOptions,
    folder: Path,
    graphs: dict[str, Any],
    network: Foreign,
    sources: list[str],
    found: report.Report | None,
) -> Bundle:
    export = ExportOptions(
        name=options.name or options.bundle.resolve().name,
        geometry=geometry(options, network),
        license=options.license,
        interval=options.interval,
        accuracy=found.accuracy() if found else None,
    )
    cost = None
    if found:
        at = export.reference_size
        plan = export.geometry.plan(*at)
        cost = graph_cost(graphs["keyframe.onnx"], graphs["propagate.plain.onnx"], at, plan)
    return write_bundle(
        folder, graphs, class_list(network.classes, options.class_names), sources, cost, export
    )


def _held_out(options: AdaptOptions, cached: list[tuple[Run, ClipCache]]) -> Iterator[Iterable[Frame]]:
    """Segments of consecutive frames that PF did not learn from."""
    if options.held_out:
        share = report.spread_evenly([2**31] * len(options.held_out))
        for path, count in zip(options.held_out, share, strict=True):
            if count:
                yield frames_of(Run(path, 0.0, count))
        return
    tails = [len(tail) for tail in training.held_out_tail([clip for _, clip in cached])[1]]
    for (run, clip), tail, count in zip(cached, tails, report.spread_evenly(tails), strict=True):
        if count:
            first = len(clip) - tail
            yield islice(frames_of(run), first, first + count)
