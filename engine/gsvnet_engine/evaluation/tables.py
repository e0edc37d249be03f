"""What `evaluate` measured, as lines of text."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

_KINDS = ("average", "minimum", "repeat_average", "repeat_minimum", "warp_average", "warp_minimum")
_HEADS = (
    "            propagated          keyframe repeated   warp only           ",
    "interval    average   minimum   average   minimum   average   minimum   ",
)
Rows = Sequence[dict[str, Any]]


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """Every table of the result, one after another."""
    for subject, rows in _by_subject(facts["rows"]):
        measured = f"{facts['dataset']} {facts['split']}, {facts['frames']} labelled frames"
        yield f"{measured}, by {subject}; mIoU in percent"
        yield _HEADS[0] + "networks"
        yield _HEADS[1] + "frames/s"
        for row in rows:
            yield f"{row['interval']:>8}    {_six(row, 'miou')}{row['fps']:>8.1f}"
        yield from _boundary(rows)
        yield from _consistency(rows, truth=True)
    yield from _classes(facts)
    if facts["absent"]:
        yield f"no ground truth, so not in any mean: {', '.join(facts['absent'])}"
    yield from _agreement(facts["agreement"])
    yield from _machine(facts["machine_labels"])
    for survey in facts["familiarity"]:
        yield from _familiarity(survey)


def _by_subject(rows: Rows) -> Iterator[tuple[str, Rows]]:
    for subject, own in groupby(rows, lambda row: "{bundle}, {backend} {precision}".format(**row)):
        yield subject, list(own)


def _six(row: dict[str, Any], what: str) -> str:
    return "".join(f"{_percent(row[f'{kind}_{what}']):>7}   " for kind in _KINDS)


def _boundary(rows: Rows) -> Iterator[str]:
    if all(row["average_boundary_f"] is None for row in rows):
        return
    yield "boundary F-score in percent"
    yield from (head.rstrip() for head in _HEADS)
    for row in rows:
        yield f"{row['interval']:>8}    {_six(row, 'boundary_f')}".rstrip()


def _consistency(rows: Rows, *, truth: bool) -> Iterator[str]:
    if all(row["consistency"] is None for row in rows):
        return
    yield "temporal consistency, percent of the labels that stay the same along the motion"
    yield "interval    propagated   keyframe repeated" + ("   ground truth" if truth else "   video")
    for row in rows:
        last = _percent(row["truth_consistency"]).rjust(12) if truth else row["video"]
        shares = f"{_percent(row['consistency']):>10}   {_percent(row['repeat_consistency']):>17}"
        yield f"{row['interval']:>8}    {shares}   {last}"


def _classes(facts: dict[str, Any]) -> Iterator[str]:
    """IoU of each class at interval 1 and at the largest distance: two columns for each bundle and backend."""
    if not facts["distances"]:
        return
    subjects = [(name, (rows[0], rows[-1])) for name, rows in _by_subject(facts["distances"])]
    last = subjects[0][1][1]["distance"]
    columns = (0, 1) if last else (0,)
    width = max(map(len, facts["per_class"]))
    at = f" and {last} frame{'s' if last > 1 else ''} after the keyframe" if last else ""
    yield f"IoU in percent, at interval 1{at}" + ("" if len(subjects) == 1 else ", by")
    if len(subjects) > 1:
        yield from (f"  ({number + 1}) {name}" for number, (name, _) in enumerate(subjects))
        heads = (f"({number + 1})".rjust(8 * len(columns)) for number in range(len(subjects)))
        yield f"  {'':<{width}}{'  '.join(heads)}"
    for name in facts["per_class"]:
        cells = (
            "".join(f"{ends[column]['per_class'][name]:8.2f}" for column in columns) for _, ends in subjects
        )
        yield f"  {name:<{width}}{'  '.join(cells)}"


def _agreement(rows: Rows) -> Iterator[str]:
    for subject, own in _by_subject(rows):
        yield f"agreement with interval 1, percent of pixels, by {subject}"
        yield "interval    propagated   keyframe repeated   video"
        for row in own:
            shares = f"{100 * row['agreement']:>10.2f}   {100 * row['repeat_agreement']:>17.2f}"
            yield f"{row['interval']:>8}    {shares}   {row['video']}"
        yield from _consistency(own, truth=False)


def _machine(rows: Rows) -> Iterator[str]:
    for subject, own in _by_subject(rows):
        yield f"agreement with machine labels, percent of pixels (mean over classes of IoU), by {subject}"
        yield "interval    propagated        keyframe repeated   best constant map   frames   video"
        for row in own:
            three = (_pair(row, kind) for kind in ("average", "repeat_average", "constant"))
            cells = "   ".join(f"{cell:>17}" for cell in three)
            yield f"{row['interval']:>8} {cells}   {row['frames']:>6}   {row['video']}"


def _pair(row: dict[str, Any], kind: str) -> str:
    return f"{100 * row[f'{kind}_agreement']:.2f} ({100 * row[f'{kind}_class_agreement']:.1f})"


def _familiarity(survey: dict[str, Any]) -> Iterator[str]:
    by = "{bundle}, {backend} {precision}".format(**survey)
    yield f"familiarity by {by}: {survey['manifest']['statistic']} of keyframes"
    yield "lowest   median   highest   windows   warned   material"
    for row in survey["materials"]:
        values = f"{row['lowest']:6.3f}   {row['median']:6.3f}   {row['highest']:7.3f}"
        known = " (known)" if row["known"] else " (`run` warns)" if row["run_warns"] else ""
        yield f"{values}   {row['windows']:>7}   {row['warned']:>6}   {row['name']}{known}"
    yield f'"familiarity": {json.dumps(survey["manifest"])}'


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
