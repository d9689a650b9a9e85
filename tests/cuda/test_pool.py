"""The pool and its moments on a card are those on the CPU, whatever rows come, go, repeat and move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semscale_pl.geometry.moments import ClassMoments
from semscale_pl.pool import FeaturePool, NonFiniteFeaturesError

pytestmark = pytest.mark.cuda
CLASSES, DIM, CAPACITY = 7, 12, 90


def pools(device: torch.device, mode: str, dtype: torch.dtype = torch.float32) -> tuple[FeaturePool, FeaturePool]:
    """Return a pool on the device and one on the CPU; in a rehearsal the first goes a card's way."""
    ours = FeaturePool(CAPACITY, DIM, CLASSES, mode, dtype, fixed_shapes=True).to(device)
    return ours, FeaturePool(CAPACITY, DIM, CLASSES, mode, dtype, fixed_shapes=False)


def batch(step: int, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, labels and indices, some of which repeat; the last class comes in the first steps alone."""
    rng = torch.Generator().manual_seed(step)
    indices = torch.randint(CAPACITY, (24,), generator=rng)
    labels = indices % (CLASSES if step < 3 else CLASSES - 1)
    return spread * torch.randn(24, DIM, generator=rng) + 3.0, labels, indices


def assert_alike(ours: FeaturePool, theirs: FeaturePool) -> None:
    for name in ("features", "labels", "num_pushed"):
        assert torch.equal(getattr(ours, name).cpu(), getattr(theirs, name)), name
    assert torch.equal(ours.class_counts().cpu(), theirs.class_counts())
    one, other = ours.geometry(), theirs.geometry()
    for name in ("scales", "centres", "interclass_weights", "imbalance"):
        found, expected = getattr(one, name).cpu(), getattr(other, name)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert ours.check() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mode", ["indexed", "fifo"])
def test_a_pool_on_the_device_is_the_cpus(mode: str, dtype: torch.dtype, device: torch.device) -> None:
    ours, theirs = pools(device, mode, dtype)
    for step in range(12):
        features, labels, indices = (part.to(device) for part in batch(step))
        ours.push(features, labels, indices)
        theirs.push(*batch(step))
        assert_alike(ours, theirs)
    ours.verify()
    # Old rows of the class that came no more have left the queue, and have moved in the pool with fixed slots.
    assert (int(theirs.class_counts()[-1]) == 0) is (mode == "fifo")


def test_a_push_of_one_index_many_times_keeps_the_last(device: torch.device) -> None:
    ours, theirs = pools(device, "indexed")
    features = torch.randn(6, DIM, generator=torch.Generator().manual_seed(0))
    labels, indices = torch.tensor([1, 1, 1, 2, 2, 1]), torch.tensor([4, 4, 4, 9, 9, 4])
    for pool, place in ((ours, device), (theirs, torch.device("cpu"))):
        for _ in range(2):
            pool.push(features.to(place), labels.to(place), indices.to(place))
    assert_alike(ours, theirs)
    assert torch.equal(ours.features[4].cpu(), features[5])


def test_a_state_goes_from_the_device_to_the_cpu_and_back(device: torch.device) -> None:
    ours, theirs = pools(device, "indexed")
    for step in range(4):
        ours.push(*(part.to(device) for part in batch(step)))
    theirs.load_state_dict({name: value.cpu() if isinstance(value, Tensor) else value
                            for name, value in ours.state_dict().items()})  # fmt: skip
    again, _ = pools(device, "indexed")
    again.load_state_dict(theirs.state_dict())
    for pool, place in ((ours, device), (theirs, torch.device("cpu")), (again, device)):
        pool.push(*(part.to(place) for part in batch(4)))
    assert_alike(ours, theirs)
    assert_alike(again, theirs)


def test_moments_that_lose_all_rows_are_exact_zeros(device: torch.device) -> None:
    moments = ClassMoments(CLASSES, DIM, fixed_shapes=True).to(device)
    features, labels, _ = (part.to(device) for part in batch(0, spread=1e4))
    moments.add(features, labels)
    moments.remove(features, labels)
    assert not moments.counts.any()
    assert not moments.sums.any()
    assert not moments.second.any()
    assert moments.scales().isnan().all()


@pytest.mark.parametrize("mode", ["indexed", "fifo"])
def test_what_is_not_finite_is_named_when_asked_for(mode: str, device: torch.device) -> None:
    pool, _ = pools(device, mode)
    pool.push(*(part.to(device) for part in batch(0)))
    features, labels, indices = batch(1)
    features[5, 3] = torch.nan
    pool.push(features.to(device), labels.to(device), indices.to(device))
    with pytest.raises(NonFiniteFeaturesError) as raised:
        pool.verify()
    assert raised.value.label == int(labels[5])
    assert raised.value.index == (int(indices[5]) if mode == "indexed" else None)


def test_a_step_at_imagenets_size_takes_little_memory(device: torch.device) -> None:
    slots, classes, width, rows = 20_000, 1_000, 64, 512
    pool = FeaturePool(slots, width, classes, fixed_shapes=True).to(device)
    rng = torch.Generator().manual_seed(0)
    indices = torch.randperm(slots, generator=rng)[:rows].to(device)
    features = torch.randn(rows, width, generator=rng).to(device)
    pool.push(features, indices % classes, indices)
    before = 0
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    pool.push(features, indices % classes, indices)
    assert pool.geometry().imbalance.shape == (classes,)
    if device.type == "cuda":
        assert torch.cuda.max_memory_allocated() - before < 2**29
