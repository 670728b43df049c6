"""Features of wrong weights are told, those of right ones are not."""

import numpy as np
import pytest
from obtransfer.heads.ridge import fit_ridge
from obtransfer.heads.sanity import banner, doubts, feature_statistics, least_accuracy


def test_statistics_of_known_features() -> None:
    features = np.array([[1.0, 3.0], [3.0, 5.0]], dtype=np.float32)
    found = feature_statistics(features)
    assert found["mean"] == 3.0
    assert found["std"] == pytest.approx(np.sqrt(2))
    assert found["spread"] == pytest.approx(1 / np.sqrt(11))
    assert feature_statistics(1000 * features)["spread"] == pytest.approx(found["spread"])
    assert feature_statistics(np.zeros((3, 2)))["spread"] == 0


@pytest.mark.parametrize("num_classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("num_images", [20, 1000])
def test_guessing_is_below_and_a_good_head_above(num_classes: int, num_images: int) -> None:
    least = least_accuracy(num_classes, num_images)
    assert 1 / num_classes < least
    if num_images > 20:
        assert least < 1 / num_classes + 0.5 * (1 - 1 / num_classes)


def test_noise_is_doubted_and_signal_is_not() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 40)
    noise = generator.normal(size=(400, 64))
    signal = noise + 2 * np.eye(10, 64)[labels]
    for features, doubted in ((noise, True), (signal, False)):
        head = fit_ridge(features[::2], labels[::2], 10)
        accuracy = float((head.logits(features[1::2]).argmax(1) == labels[1::2]).mean())
        reasons = doubts(accuracy, 10, 200, feature_statistics(features))
        assert bool(reasons) == doubted
        assert all("look random" in reason for reason in reasons)


def test_equal_features_are_doubted() -> None:
    same = np.ones((50, 8)) + 1e-6 * np.random.default_rng(0).normal(size=(50, 8))
    (reason,) = doubts(0.9, 10, 100, feature_statistics(same))
    assert "hardly differ between images" in reason


def test_the_warning_stands_out() -> None:
    shown = banner("resnet50.mine on upper", ["it is random"]).splitlines()
    assert shown[0] == shown[-1] == "!" * len(shown[0])
    assert shown[1] == "WARNING: resnet50.mine on upper:"
    assert "it is random" in shown[2]
