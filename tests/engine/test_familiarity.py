from typing import Any

import numpy as np
import pytest

from gsvnet_engine.bundle import Familiarity
from gsvnet_engine.familiarity import FEWEST, KEYFRAMES, Doubt, mean_confidence
from tests.toy_bundle import Float32

RULE = Familiarity(statistic="mean_confidence", threshold=0.8, usual=(0.85, 0.95))
CLASSES = 4


def sure(confidence: float) -> Float32:
    """scores [1,4,5,6] whose winning class has that probability everywhere."""
    scores = np.zeros((1, CLASSES, 5, 6), np.float32)
    scores[:, 2] = np.log(confidence * (CLASSES - 1) / (1 - confidence))
    return scores


def said(doubt: Doubt, confidences: list[float]) -> list[str | None]:
    return [doubt.see(sure(confidence)) for confidence in confidences]


def test_mean_confidence_is_that_of_a_softmax() -> None:
    scores = np.random.default_rng(2).normal(0, 9, (1, CLASSES, 7, 9)).astype(np.float32)
    exponentials = np.exp(scores[0].astype(np.float64))
    expected = (exponentials / exponentials.sum(0)).max(0).mean()
    assert mean_confidence(scores) == pytest.approx(expected, rel=1e-5)
    assert mean_confidence(np.full_like(scores, 1e4)) == pytest.approx(1 / CLASSES)
    assert mean_confidence(sure(0.7)) == pytest.approx(0.7)


class TestDoubt:
    def test_warns_once_after_ten_keyframes(self) -> None:
        answers = said(Doubt("street", RULE), [0.7] * (2 * KEYFRAMES))
        assert [i for i, answer in enumerate(answers) if answer] == [KEYFRAMES - 1]
        assert answers[KEYFRAMES - 1] == (
            "this video looks unlike what street was trained on (mean confidence 0.70, usual 0.85..0.95): "
            "expect errors"
        )

    def test_the_median_decides(self) -> None:
        few = [0.5] * (KEYFRAMES // 2 - 1)
        assert not any(said(Doubt("street", RULE), [*few, *[0.9] * KEYFRAMES]))

    def test_a_short_input_is_judged_at_its_end(self) -> None:
        for count, warns in ((FEWEST - 1, False), (FEWEST, True)):
            doubt = Doubt("street", RULE)
            assert not any(said(doubt, [0.6] * count))
            assert (doubt.finish() is not None) is warns

    def test_nothing_more_at_the_end(self) -> None:
        doubt = Doubt("street", RULE)
        said(doubt, [0.6] * KEYFRAMES)
        assert not doubt.is_open and doubt.finish() is None

    @pytest.mark.parametrize("rule", [None, Familiarity(statistic="of 2031", threshold=1, usual=(0, 1))])
    def test_without_a_rule_nothing_is_said(self, rule: Any) -> None:
        doubt = Doubt("street", rule)
        assert not any(said(doubt, [0.3] * 20)) and doubt.finish() is None
