"""What the paper publishes (https://arxiv.org/abs/2103.08834), to be printed beside what is measured here.

On a GTX 1080 Ti. Other machines and other networks: these lines are a measure, not a comparison of like with like.
"""

from dataclasses import dataclass

GPU = "GTX 1080 Ti"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the paper's tables of speed. scale: of the network's input; miou: average, in percent; interval: None
    for other video methods. ours: the network is run as the paper runs it with SwiftNet-R18 at scale 0.75."""

    data: str
    network: str
    scale: float
    interval: int | None
    miou: float
    fps: float
    ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A line of the paper's table of cost. megabytes: parameters, 4 bytes each; gmac: a frame, on average."""

    network: str
    interval: int
    megabytes: float
    gmac: float


_CITYSCAPES, _CAMVID = "Cityscapes val, 2048x1024", "CamVid test"


def _line(
    data: str, network: str, scale: float, interval: int | None, miou: float, fps: float, ours: bool = False
) -> Line:
    return Line(data=data, network=network, scale=scale, interval=interval, miou=miou, fps=fps, ours=ours)


SPEED = (
    _line(_CITYSCAPES, "BiSeNet-R18", 0.75, 1, 73.7, 62),
    _line(_CITYSCAPES, "BiSeNet-R18", 0.5, 1, 68.9, 131),
    _line(_CITYSCAPES, "SwiftNet-R18", 0.75, 1, 74.4, 63.2, True),
    _line(_CITYSCAPES, "SwiftNet-R18", 0.5, 1, 68.7, 134),
    _line(_CITYSCAPES, "GSVNet-BN", 0.75, 2, 72.9, 98.5),
    _line(_CITYSCAPES, "GSVNet-BN", 0.75, 3, 72.0, 123.4),
    _line(_CITYSCAPES, "GSVNet-BN", 0.75, 4, 71.2, 140),
    _line(_CITYSCAPES, "GSVNet-SN", 0.75, 2, 73.6, 100, True),
    _line(_CITYSCAPES, "GSVNet-SN", 0.75, 3, 72.6, 125, True),
    _line(_CITYSCAPES, "GSVNet-SN", 0.75, 4, 71.8, 142, True),
    _line(_CITYSCAPES, "GSVNet-SN (ablation)", 0.75, 5, 70.9, 155, True),
    _line(_CITYSCAPES, "Fast-SCNN", 0.5, 1, 68.6, 123.5),
    _line(_CITYSCAPES, "CLK", 1.0, None, 64.4, 6.3),
    _line(_CITYSCAPES, "DVSNet", 1.0, None, 63.2, 30.3),
    _line(_CITYSCAPES, "Accel-R18", 1.0, None, 72.1, 2.2),
    _line(_CITYSCAPES, "LVS-LLS", 1.0, None, 75.9, 8.4),
    _line(_CITYSCAPES, "TD-BN-R18", 1.0, None, 75.0, 47),
    _line(_CAMVID, "BiSeNet-R18", 0.75, 1, 66.6, 142),
    _line(_CAMVID, "BiSeNet-R18", 0.5, 1, 60.7, 232),
    _line(_CAMVID, "GSVNet-BN", 0.75, 2, 65.9, 210),
    _line(_CAMVID, "GSVNet-BN", 0.75, 3, 64.8, 250),
    _line(_CAMVID, "Accel", 1.0, None, 66.7, 7.6),
    _line(_CAMVID, "TD-PSP18", 1.0, None, 71.0, 25),
    _line(_CAMVID, "TD-PSP50", 1.0, None, 74.7, 10),
)
COST = (
    Cost(network="BiSeNet-R18, 0.75", interval=1, megabytes=49.0, gmac=58.0),
    Cost(network="SwiftNet-R18, 0.75", interval=1, megabytes=47.2, gmac=58.5),
    Cost(network="SwiftNet-R18, 0.5", interval=1, megabytes=47.2, gmac=26.0),
    Cost(network="GSVNet-SN, 0.75", interval=4, megabytes=47.2 + 1.6, gmac=16.7),
)
