"""The Gaussian head of a network: equal to the estimator, in batches too, and never a class that it has not seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import semscale_pl as ss
from semscale_pl.metrics.report import ClassificationReport
from semscale_pl.models.gaussian import GaussianClassifier, GaussianFit

COUNTS = (30, 12, 0, 5, 1)


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return torch.randn(len(labels), 6, generator=generator, dtype=torch.float64) + 1.5 * torch.eye(6)[labels], labels


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"k": 3.0, "voices": "pooled", "borrowing": "grand", "prior": "frequency"},
        {"shrinkage": "ledoit_wolf", "temperature": 2.0},
        {"shrinkage": "oas"},
    ],
)
def test_batches_give_what_the_estimator_gives_at_once(settings: dict[str, object]) -> None:
    rows, labels = drawn()
    head = GaussianClassifier(6, len(COUNTS), **settings).double()  # type: ignore[arg-type]
    batches = list(zip(rows.split(7), labels.split(7), strict=True))
    fitted = head.fit(batches, torch.tensor(COUNTS))
    estimator = ss.GaussianHead(**settings).fit(rows, labels)  # type: ignore[arg-type]
    assert fitted.chosen == pytest.approx({name: getattr(estimator.settings_, name) for name in fitted.chosen})
    present = torch.tensor(COUNTS) > 0
    new = drawn(1)[0]
    found, expected = head(new)[:, present].log_softmax(1), torch.from_numpy(estimator.decision_function(new))
    torch.testing.assert_close(found, expected.log_softmax(1), rtol=1e-8, atol=1e-8)


def test_fixed_settings_need_no_sample_twice() -> None:
    rows, labels = drawn()
    way = GaussianFit("fixed")
    assert not way.sees_twice
    fitted = way.of_batches(((rows, labels) for _ in range(1)), torch.tensor(COUNTS))
    assert (fitted.chosen, fitted.tried) == ({"shrinkage": 0.5, "k": 10.0, "temperature": 1.0}, [])


def test_a_class_without_samples_never_wins_and_makes_nothing_infinite() -> None:
    rows, labels = drawn()
    head = GaussianClassifier(6, len(COUNTS), choose="fixed", temperature=0.01).double()
    head.fit([(rows, labels)], torch.tensor(COUNTS))
    far = torch.cat([rows * scale for scale in (-1e4, -100.0, 1.0, 100.0, 1e4)])
    logits = head(far)
    assert logits.isfinite().all()
    assert 2 not in logits.argmax(1).tolist()
    assert F.cross_entropy(logits, torch.full((len(far),), 2)).isfinite()
    report = ClassificationReport(len(COUNTS), COUNTS)
    report.update(logits, labels.repeat(5))
    found = report.compute()
    assert found["num_nonfinite"] == 0
    assert found["ece"] is not None


def test_a_prior_is_one_number_for_each_class() -> None:
    rows, labels = drawn()
    head = GaussianClassifier(6, len(COUNTS), choose="fixed", prior=[1, 2])
    with pytest.raises(ValueError, match="5 probabilities"):
        head.fit([(rows, labels)], torch.tensor(COUNTS))
    weighed = GaussianFit("fixed", k=0.0, prior=[1, 1, 1, 1, 8]).of(rows, labels, 5).affine
    even = GaussianFit("fixed", k=0.0).of(rows, labels, 5).affine
    assert weighed.bias is not None
    assert even.bias is not None
    gained = (weighed.bias - even.bias)[[0, 1, 3, 4]]
    torch.testing.assert_close(gained - gained[0], torch.tensor([1.0, 1.0, 1.0, 8.0], dtype=torch.float64).log())
