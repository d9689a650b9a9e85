"""Lightning's advice to take more workers, where there are cores for them, is not given for batches in memory."""

from __future__ import annotations

import warnings

import pytest
from pytorch_lightning.trainer.connectors import data_connector
from watching import Build


@pytest.mark.parametrize("in_memory", ["auto", False])
def test_workers_are_recommended_only_where_they_have_something_to_do(
    in_memory: str | bool, digits: Build, classifier: Build, trainer: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_connector, "suggested_max_num_workers", lambda devices: 16)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        trainer(max_epochs=1).fit(classifier(), datamodule=digits(in_memory=in_memory, num_workers=0))
    advised = [str(one.message) for one in given if "many workers" in str(one.message)]
    assert bool(advised) is (in_memory is False), advised
