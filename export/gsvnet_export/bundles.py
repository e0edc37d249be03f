"""Checkpoints -> a bundle folder: graphs built, verified against torch, written with their manifest in one move."""

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto
from torch import nn

from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError, OutputError
from gsvnet_engine.geometry import Fixed, Geometry
from gsvnet_export import onnx_graphs, precision, verify
from gsvnet_export.cost import count_macs, count_parameters
from gsvnet_export.networks import Propagation, build_keyframe
from gsvnet_export.networks.layers import load_matching
from gsvnet_export.networks.propagation import PropagationConfig
from gsvnet_export.outputs import Say, check_writable, writing
from gsvnet_export.training.loop import load_checkpoint


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the manifest says besides what the checkpoints know."""

    name: str
    geometry: Geometry
    license: str  # SPDX
    precision: str = "fp32"  # one of gsvnet_engine.bundle.PRECISIONS
    interval: int = 4
    accuracy: dict[str, Any] | None = None
    familiarity: dict[str, Any] | None = None  # as `evaluate --familiarity` measures it
    reference_size: tuple[int, int] = (720, 960)  # source size at which the cost is stated


def load_keyframe(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """(network in eval mode, configuration) from a checkpoint of `train keyframe`; InputError for another kind."""
    state, config = load_checkpoint(path)
    if config.get("kind") != "keyframe":
        raise InputError(f"{path}: a {config.get('kind')} checkpoint; give one of `train keyframe`")
    try:
        network = build_keyframe(config["recipe"]["network"], config["recipe"]["trunk"], config["classes"])
        load_matching(network, state, str(path))
    except ValueError as error:
        raise InputError(f"{error}; give a checkpoint as `train keyframe` wrote it") from error
    return network.eval(), config


def load_propagation(path: Path) -> tuple[Propagation, dict[str, Any]]:
    """(PF in eval mode, configuration) from a checkpoint of `train propagation`; InputError for another kind."""
    state, config = load_checkpoint(path)
    if config.get("kind") != "propagation":
        raise InputError(f"{path}: a {config.get('kind')} checkpoint; give one of `train propagation`")
    network = Propagation(PropagationConfig(**config["network"]))
    try:
        load_matching(network, state, str(path))
    except ValueError as error:
        raise InputError(f"{error}; give a checkpoint as `train propagation` wrote it") from error
    return network.eval(), config


def open_material(keyframe_checkpoint: Path, root: Path) -> precision.Material:
    """The data at `root`, read as the data set that the checkpoint was trained on."""
    _, config = load_keyframe(keyframe_checkpoint)
    return precision.Material.open(config["data"]["dataset"], root)


def export_bundle(
    keyframe_checkpoint: Path,
    propagation_checkpoint: Path,
    folder: Path,
    options: ExportOptions,
    *,
    material: precision.Material | None = None,
    force: bool = False,
    say: Say = lambda note: None,
) -> tuple[Bundle, verify.Measured]:
    """Build, verify, write; returns the opened bundle and what verification measured.

    `material`: what a precision below fp32 is calibrated and judged on; `say` hears what that is at.
    A bundle that fails verification or judgement is not written (BundleError); an existing folder only with `force`,
    and then files that export does not make (model card, licence) stay. The same checkpoints, data and versions give
    the same bytes.
    """
    check_writable(folder, "-o", beside=True)
    if (folder / "manifest.json").exists() and not force:
        raise OutputError(f"{folder}: holds a bundle already; add --force, or name another folder")
    keyframe, keyframe_config = load_keyframe(keyframe_checkpoint)
    propagation, propagation_config = load_propagation(propagation_checkpoint)
    classes = keyframe_config["data"]["classes"]
    if propagation.config.classes != len(classes):
        raise InputError(
            f"{propagation_checkpoint}: propagates {propagation.config.classes} classes, but {keyframe_checkpoint} "
            f"segments {len(classes)}; train both on the same classes"
        )
    if material is not None and list(material.classes) != [c["name"] for c in classes]:
        raise InputError(f"--data: its classes are not those that {keyframe_checkpoint} was trained on")
    graphs = onnx_graphs.build_graphs(keyframe, propagation, len(classes))
    measured = verify.verify(graphs, keyframe, propagation)
    conversion = None
    if options.precision != "fp32":
        if material is None:
            raise ValueError(f"precision {options.precision} needs material")
        graphs, conversion = precision.convert(graphs, options.precision, material, options.geometry, say)
    sources = keyframe_config["data"]["sources"] + propagation_config["data"]["sources"]
    cost = _cost(keyframe, propagation, len(classes), options)
    return write_bundle(folder, graphs, classes, sources, cost, options, conversion), measured


def write_bundle(
    folder: Path,
    graphs: dict[str, ModelProto],
    classes: list[dict[str, Any]],
    sources: list[str],
    cost: dict[str, Any] | None,
    options: ExportOptions,
    conversion: dict[str, Any] | None = None,
) -> Bundle:
    """Write graphs, by file name, with their manifest; returns the opened bundle. Nothing is verified here.

    `conversion`: how graphs of a precision below fp32 came about, and what that cost.
    """
    payload = {name: model.SerializeToString() for name, model in graphs.items()}
    manifest = {
        "format_version": 1,
        "name": options.name,
        "classes": classes,
        **size_rules(options.geometry),
        "precision": options.precision,
        **({} if conversion is None else {"conversion": conversion}),
        "interval": options.interval,
        **({} if options.familiarity is None else {"familiarity": options.familiarity}),
        "license": options.license,
        "trained_on": sources,
        "accuracy": options.accuracy or {},
        **({"cost": cost} if cost else {}),
        "graphs": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(payload.items())},
    }
    return _write(folder, payload, manifest)


def size_rules(geometry: Geometry) -> dict[str, Any]:
    """A geometry as the manifest writes it: `working_size` and `keyframe_size`."""
    working, keyframe = geometry.working, geometry.keyframe
    return {
        "working_size": working if isinstance(working, str) else {"short_side": working.short_side},
        "keyframe_size": {"size": list(keyframe.size)}
        if isinstance(keyframe, Fixed)
        else {"scale": list(keyframe.scale), "multiple": keyframe.multiple},
    }


def _cost(
    keyframe: nn.Module, propagation: Propagation, classes: int, options: ExportOptions
) -> dict[str, Any]:
    """Parameters, and multiply-accumulates for a source of the reference size."""
    sizes = options.geometry.plan(*options.reference_size)
    small, scores = torch.zeros(1, 3, *sizes.grid), torch.zeros(1, classes, *sizes.grid)
    return {
        "at": list(options.reference_size),
        "parameters": {"keyframe": count_parameters(keyframe), "propagate": count_parameters(propagation)},
        "macs": {
            "keyframe": count_macs(keyframe, torch.zeros(1, 3, *sizes.keyframe)),
            "propagate": count_macs(propagation, small, small, scores),
        },
    }


def _write(folder: Path, payload: dict[str, bytes], manifest: dict[str, Any]) -> Bundle:
    """Write to a folder beside the target, open it as the engine will, then move the files over."""
    with writing(folder, "-o"):
        target = folder.resolve()  # "." and ".." have no name of their own
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
            staged = Path(temporary) / target.name
            staged.mkdir()
            for name, data in payload.items():
                (staged / name).write_bytes(data)
            (staged / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
            Bundle.open(staged)
            folder.mkdir(exist_ok=True)
            for path in staged.iterdir():
                shutil.move(path, folder / path.name)
    return Bundle.open(folder)
