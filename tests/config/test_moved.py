"""Every name that a stored configuration may have leads to the class that is meant."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest
from omegaconf import OmegaConf

from semscale_pl.config.moved import MOVED, current_name, with_current_names

# What the configurations of earlier versions named, and has moved since.
OLD_NAMES = [
    "semscale_pl.callbacks.csv_log.ResumedCSVLogger",
    "semscale_pl.callbacks.difficulty.DifficultyReweighting",
    "semscale_pl.callbacks.drift.FeatureDrift",
    "semscale_pl.callbacks.effective_area.EffectiveAreaReweighting",
    "semscale_pl.callbacks.frequency.FrequencyReweighting",
    "semscale_pl.callbacks.progress.ProgressLine",
    "semscale_pl.callbacks.recorder.RunRecorder",
    "semscale_pl.callbacks.sample_volume.SampleVolumeReweighting",
    "semscale_pl.callbacks.scale_prior.ScalePriorReweighting",
    "semscale_pl.callbacks.score.ScoreReweighting",
    "semscale_pl.callbacks.semantic_scale.SemanticScaleReweighting",
    "semscale_pl.cli.train:train",
    "semscale_pl.data.digits.Digits",
]
# What they named and what has stayed.
NAMES = [
    "semscale_pl.callbacks.step_seed.StepSeed",
    "semscale_pl.data.datamodule.ImbalancedDataModule",
    "semscale_pl.data.files.Folder",
    "semscale_pl.data.list_twin.ListTwin",
    "semscale_pl.data.lists.Lists",
    "semscale_pl.data.samplers.InstanceSampling",
    "semscale_pl.data.samplers.PowerSampling",
    "semscale_pl.data.samplers.ProgressiveSampling",
    "semscale_pl.data.transforms.auto_augment_cutout",
    "semscale_pl.data.transforms.crop",
    "semscale_pl.data.transforms.crop_flip",
    "semscale_pl.data.transforms.rand_augment",
    "semscale_pl.data.transforms.resized_crop_flip",
    "semscale_pl.data.vision.Vision",
    "semscale_pl.data.wrapped.Balanced",
    "semscale_pl.data.wrapped.TorchDatasets",
    "semscale_pl.losses.BalancedSoftmax",
    "semscale_pl.losses.CrossEntropy",
    "semscale_pl.losses.Equalization",
    "semscale_pl.losses.Focal",
    "semscale_pl.losses.LDAM",
    "semscale_pl.losses.LogitAdjusted",
    "semscale_pl.losses.Seesaw",
    "semscale_pl.losses.SigmoidFocal",
    "semscale_pl.models.bn_inception.bn_inception",
    "semscale_pl.models.classifiers.CosineClassifier",
    "semscale_pl.models.classifiers.LinearClassifier",
    "semscale_pl.models.resnet_cifar.ResNetCifar",
    "semscale_pl.models.small_cnn.SmallCNN",
    "semscale_pl.models.timm_backbones.timm_backbone",
    "semscale_pl.models.torchvision_backbones.torchvision_backbone",
    "semscale_pl.modules.mixing.Mixing",
    "semscale_pl.modules.schedules.warmup_multistep",
]


@pytest.mark.parametrize("name", [*OLD_NAMES, *NAMES])
def test_a_name_that_was_ever_stored_is_found(name: str) -> None:
    module, _, attribute = current_name(name).replace(":", ".").rpartition(".")
    assert callable(getattr(import_module(module), attribute))


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_module_is_gone_and_leads_to_one_that_is_there(old: str, new: str) -> None:
    assert old == "semscale_pl.cli.train" or find_spec(old) is None  # the command has kept its file
    assert find_spec(new) is not None
    assert new not in MOVED


def test_names_of_others_and_what_is_not_a_target_stay() -> None:
    old = "semscale_pl.data.digits.Digits"
    config = OmegaConf.create(
        {
            "dataset": {"source": {"_target_": old}, "again": "${dataset.source}", "note": old, "_target_": None},
            "optimizer": {"_target_": "torch.optim.SGD", "lr": "???"},
            "callbacks": [{"_target_": old}, 1],
        }
    )
    found = with_current_names(config)
    assert found.dataset.again._target_ == found.callbacks[0]._target_ == "semscale_pl.data.vision.Digits"
    assert found.dataset.note == old
    assert found.optimizer._target_ == "torch.optim.SGD"
    assert config.dataset.source._target_ == old, "the configuration that was passed is left alone"
