"""gsvnet-engine inspect: what a bundle is, costs, was trained on and may be used for."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gsvnet_engine.bundle import Bundle, Manifest
    from gsvnet_engine.geometry import Size

INTERVALS = (1, 2, 3, 4, 5)
_DEFAULT_SIZE = (720, 1280)
_LICENSES = {
    "Apache-2.0": "free for any use; keep the licence and notices",
    "MIT": "free for any use; keep the notice",
    "BSD-3-Clause": "free for any use; keep the notice, and do not advertise with the authors' names",
    "CC0-1.0": "free for any use, without conditions",
    "CC-BY-4.0": "free for any use with attribution",
    "CC-BY-SA-4.0": "free for any use with attribution; what you derive from it must carry the same licence",
    "CC-BY-NC-4.0": "free for non-commercial use with attribution; not for commercial use",
    "CC-BY-NC-SA-4.0": "free for non-commercial use with attribution, and what you derive from it likewise; "
    "not for commercial use",
    "CC-BY-NC-ND-4.0": "free for non-commercial use, unchanged and with attribution; not for commercial use",
}


def command(
    bundle: Annotated[str, typer.Argument(help="A shipped name, or a bundle's folder.")] = "street",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size of the video, as in 1280x720.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a bundle's classes, sizes, licence, cost and accuracy."""
    from gsvnet_engine.bundle import Bundle
    from gsvnet_engine.cli.sizes import parse_size

    opened = Bundle.open(bundle)
    opened.verify()
    facts = describe(opened, None if size is None else parse_size(size))
    print(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


def describe(bundle: "Bundle", size: "Size | None") -> dict[str, Any]:
    """Everything that the verb shows, as JSON values; sizes are [height, width]."""
    manifest = bundle.manifest
    at = size or (manifest.cost.at if manifest.cost else _DEFAULT_SIZE)
    sizes = bundle.plan(*at)
    return {
        "name": manifest.name,
        "path": str(bundle.path),
        "format_version": manifest.format_version,
        "license": manifest.license,
        "license_meaning": license_meaning(manifest.license),
        "classes": [{"name": info.name, "color": list(info.color)} for info in manifest.classes],
        "sizes": {
            "source": list(sizes.source),
            "working": list(sizes.working),
            "keyframe": list(sizes.keyframe),
            "grid": list(sizes.grid),
        },
        "precision": manifest.precision,
        "conversion": dict(manifest.conversion),
        "interval": manifest.interval,
        "cost": _cost(bundle, at),
        "trained_on": list(manifest.trained_on),
        "accuracy": dict(manifest.accuracy),
        "recommendation": _recommendation(manifest),
        "familiarity": None if manifest.familiarity is None else asdict(manifest.familiarity),
        "graphs": {
            name: {"bytes": len(bundle.graph(name)), "sha256": digest}
            for name, digest in manifest.graphs.items()
        },
    }


def license_meaning(spdx: str) -> str:
    """What an SPDX identifier means for a user, in plain words."""
    return _LICENSES.get(spdx, "see the licence of that name, and the licence file in the bundle")


def _recommendation(manifest: "Manifest") -> dict[str, Any] | None:
    from gsvnet_engine.recommend import of_manifest

    found = of_manifest(manifest)
    if found is None:
        return None
    return {
        "interval": found.chosen.interval,
        "sentence": found.sentence(),
        "others": found.others(),
        "limit": found.limit,
        "most_points": found.most_points,
        "choices": [asdict(choice) for choice in found.choices],
    }


def _cost(bundle: "Bundle", at: "Size") -> dict[str, Any] | None:
    cost = bundle.manifest.cost
    if cost is None:
        return None
    here = cost.scaled(bundle.manifest.geometry, at)
    return {
        "at": list(at),
        "counted_at": list(cost.at),
        "parameters": dict(cost.parameters),
        "macs": {
            **here.macs,
            "mean": {str(interval): round(here.mean_macs(interval)) for interval in INTERVALS},
        },
    }


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"{facts['name']}  ({facts['path']})"
    yield f"licence     {facts['license']}: {facts['license_meaning']}"
    yield f"precision   {facts['precision']}"
    yield from _nested(facts["conversion"], "  ")
    yield f"interval    a keyframe every {facts['interval']} frames, unless told otherwise"
    from gsvnet_engine.cli.sizes import shown

    sizes = {name: shown(size) for name, size in facts["sizes"].items()}
    yield "sizes       " + ", ".join(f"{name} {size}" for name, size in sizes.items())
    yield "            (width x height; --size shows those for another video)"
    yield from _cost_lines(facts["cost"])
    megabytes = sum(graph["bytes"] for graph in facts["graphs"].values()) / 1e6
    yield f"graphs      {len(facts['graphs'])}, {megabytes:.1f} MB, every sha256 as the manifest says"
    yield f"trained on  {'; '.join(facts['trained_on']) or 'not stated'}"
    yield "accuracy    " + ("" if facts["accuracy"] else "not stated")
    yield from _nested(facts["accuracy"], "  ")
    yield from _advice_lines(facts)
    yield f"classes     {len(facts['classes'])}"
    for number, info in enumerate(facts["classes"]):
        yield "  {:>3}  #{:02x}{:02x}{:02x}  {}".format(number, *info["color"], info["name"])


def _advice_lines(facts: dict[str, Any]) -> Iterator[str]:
    advice, familiarity = facts["recommendation"], facts["familiarity"]
    if advice is not None:
        yield f"advice      for {advice['limit']}: {_printable(advice['sentence'])}"
        if advice["others"]:
            yield f"            {advice['others']}"
    if familiarity is not None:
        low, high = familiarity["usual"]
        yield (
            f"familiar    {_printable(familiarity['statistic'])} usually {low:.2f}..{high:.2f}; "
            f"run warns below {familiarity['threshold']:.2f}"
        )


def _cost_lines(cost: dict[str, Any] | None) -> Iterator[str]:
    if cost is None:
        yield "cost        not stated"
        return
    from gsvnet_engine.cli.sizes import shown

    parameters, macs = cost["parameters"], cost["macs"]
    yield "parameters  keyframe {keyframe:.3f} M, propagation {propagate:.3f} M".format(
        **_times(1e-6, parameters)
    )
    yield "MACs        keyframe {keyframe:.2f} G, propagated frame {propagate:.2f} G".format(
        **_times(1e-9, macs)
    )
    means = ", ".join(f"{interval}: {mean / 1e9:.2f} G" for interval, mean in macs["mean"].items())
    yield f"            mean of a frame by interval  {means}"
    if cost["at"] != cost["counted_at"]:
        yield f"            (counted at {shown(cost['counted_at'])}, scaled by area)"


def _times(unit: float, counts: Mapping[str, Any]) -> dict[str, float]:
    return {part: counts[part] * unit for part in ("keyframe", "propagate")}


def _nested(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield indent + _printable(key)
            yield from _nested(value, indent + "  ")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{indent}{_printable(key)}: {_printable(shown)}"


def _printable(text: str) -> str:
    """Free text of a manifest must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
