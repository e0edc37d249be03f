"""`gsvnet-engine train keyframe | propagation`: builds the recipe from the options and calls training/."""

from pathlib import Path
from typing import Annotated

import typer

command = typer.Typer(help="Train a keyframe network, or PF for one.", no_args_is_help=True)

Output = Annotated[
    Path, typer.Option("-o", "--output", help="Run folder: configuration, metrics, curve, checkpoint.")
]
Data = Annotated[
    Path,
    typer.Option(
        envvar="GSVNET_DATA", help="camvid: the folder of camvid/, clips/, pseudo/; cityscapes: its root."
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps instead of the preset's.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in the same folder.")]
Seed = Annotated[int | None, typer.Option(help="Random seed instead of the preset's.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda or cuda:1. Default: the GPU that torch sees, else the CPU.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@command.command("keyframe")
def train_keyframe(
    data: Data,
    output: Output,
    dataset: Annotated[str, typer.Option(help="camvid or cityscapes.")] = "camvid",
    preset: Annotated[
        str, typer.Option(help="best, finetune (with --init), swiftnet (that paper's recipe) or smoke.")
    ] = "best",
    network: Annotated[str | None, typer.Option(help="swiftnet or bisenet.")] = None,
    trunk: Annotated[str | None, typer.Option(help="resnet18, efficientnet_lite0, ..1 or ..2.")] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Starting weights: torchvision's ResNet-18, a published SwiftNet or BiSeNet, or ours."
        ),
    ] = None,
    steps: Steps = None,
    seed: Seed = None,
    resume: Resume = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train a keyframe network on labelled stills. Writes OUTPUT/checkpoint.safetensors."""
    from gsvnet_export.cli.options import choose_preset, one_of, print_run, tell, torch_device
    from gsvnet_export.data.datasets import load_labelled
    from gsvnet_export.networks import NETWORKS, TRUNKS
    from gsvnet_export.outputs import check_writable
    from gsvnet_export.training import keyframe

    recipe = choose_preset(
        keyframe.PRESETS, preset, {"network": network, "trunk": trunk, "steps": steps, "seed": seed}
    )
    one_of("--network", recipe.network, NETWORKS)
    one_of("--trunk", recipe.trunk, TRUNKS)
    check_writable(output, "-o")
    where = torch_device(device)
    labelled = load_labelled(dataset, data)
    keyframe.train_keyframe(output, recipe, labelled, init, resume=resume, device=where, say=tell)
    print_run(output, as_json)


@command.command("propagation")
def train_propagation(
    data: Annotated[
        Path, typer.Option(envvar="GSVNET_DATA", help="The folder of clips/ and, for --stills, camvid/.")
    ],
    keyframe: Annotated[Path, typer.Option(help="Checkpoint of the keyframe network to propagate for.")],
    output: Output,
    preset: Annotated[
        str,
        typer.Option(
            help="best, plain (the paper's network), flow (the flow alone), finetune (with --init), paper (section 4.1 "
            "too) or smoke."
        ),
    ] = "best",
    init: Annotated[Path | None, typer.Option(help="A checkpoint of PF to start from.")] = None,
    stills: Annotated[
        bool, typer.Option(help="Learn from moved stills of CamVid too, not from clips alone.")
    ] = True,
    short_side: Annotated[int, typer.Option(min=8, help="Working size: its short side in pixels.")] = 720,
    keyframe_scale: Annotated[
        str, typer.Option(help="Keyframe size as a ratio of the working size.")
    ] = "3/4",
    cache: Annotated[
        Path | None,
        typer.Option(help="Where the keyframe network's scores are kept: OUTPUT/cache, or shared by runs."),
    ] = None,
    steps: Steps = None,
    seed: Seed = None,
    resume: Resume = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train PF from windows of clips, the frozen keyframe network as teacher, and from moved labelled stills."""
    from gsvnet_engine.errors import UsageError
    from gsvnet_export.bundles import load_keyframe
    from gsvnet_export.cli.options import choose_preset, geometry, print_run, tell, torch_device
    from gsvnet_export.outputs import check_writable
    from gsvnet_export.training import propagation
    from gsvnet_export.training.windows import load_windows

    recipe = choose_preset(propagation.PRESETS, preset, {"steps": steps, "seed": seed})
    network, config = load_keyframe(keyframe)
    dataset = config["data"]["dataset"]
    if stills and dataset != "camvid":
        raise UsageError(f"{keyframe}: trained on {dataset}, and the stills are CamVid's: give --no-stills")
    sizes, where = geometry(short_side, keyframe_scale), torch_device(device)
    check_writable(output, "-o")
    if cache is not None:
        check_writable(cache, "--cache")
    windows = load_windows(data, keyframe, network, sizes, cache or output / "cache", stills, tell, where)
    propagation.train_propagation(
        output, recipe, len(config["data"]["classes"]), windows, init, resume=resume, device=where, say=tell
    )
    print_run(output, as_json)


@command.command("average")
def train_average(
    checkpoints: Annotated[
        list[Path], typer.Argument(metavar="CHECKPOINT...", help="Two or more, of one network.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The checkpoint to write.")],
    weights: Annotated[str | None, typer.Option(help="As in 2,1,1. Default: all alike.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """The mean of checkpoints that were fine-tuned apart from one start (model soup, Wortsman et al. 2022)."""
    import json
    import sys

    from gsvnet_engine.errors import OutputError, UsageError
    from gsvnet_export.training.soup import average

    try:
        shares = None if weights is None else [float(each) for each in weights.split(",")]
    except ValueError as error:
        raise UsageError(f"--weights {weights}: give a number for each checkpoint, as in 2,1,1") from error
    if output.exists() and not force:
        raise OutputError(f"{output}: exists already; --force overwrites it")
    config = average(checkpoints, output, shares)
    if as_json:
        print(json.dumps({"checkpoint": str(output), "mean_of": config["mean_of"]}))
    else:
        print(f"{output}: the mean of {len(checkpoints)} checkpoints", file=sys.stderr)
