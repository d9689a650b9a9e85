"""A Gaussian classifier of features with scikit-learn's interface: fitted in closed form, updated exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from semscale_pl.geometry import (
    ClassCovariances,
    ClassMoments,
    Discriminant,
    DiscriminantMoments,
    DiscriminantSettings,
    choose_open,
    class_covariances,
    estimated_shrinkage,
    gaussian_discriminant,
    leading_directions,
)
from semscale_pl.options import check


class GaussianHead(ClassifierMixin, BaseEstimator):
    """Classify by Gaussians with one covariance, in which every class has the same voice however few its samples.

    Nothing trains: counts, means and one covariance give weights and offsets. Means of rare classes borrow from those
    of similar ones. What is None is chosen by exact leave-one-out in :meth:`fit`, without a validation part; in
    :meth:`partial_fit`, which sees no sample twice, it is shrinkage 0.5, k 10 and temperature 1.

    Args:
        shrinkage: of the covariance to the sphere, in [0, 1]; ``oas`` or ``ledoit_wolf`` estimate it.
        k: pseudo-samples of the mean that a class borrows.
        temperature: of the probabilities.
        voices: ``equal``: every class counts the same in the covariance; ``pooled``: every sample does.
        borrowing, prior: see :class:`semscale_pl.geometry.DiscriminantSettings`; a prior may be an array, one
            probability for each of the classes.
        criterion: class-balanced ``log_loss`` or ``error``, which shrinkage and k are chosen by.
        class_covariances: r: in so many leading directions every class has a covariance of its own, C r^2 numbers; 0:
            all share one. The other settings are chosen without.
        covariance_k: pseudo-samples of the shared covariance in each of those.

    Attributes:
        classes_: (C,) labels, sorted but for those that :meth:`update` has added, which come last.
        coef_, intercept_: (C, D) and (C,), float64; -inf for a class without samples.
        settings_: in use.
        tried_: one entry for each shrinkage and k that leave-one-out has tried.
        moments_: counts, means and scatter.
        covariances_: what covariances of the classes' own add to the scores; None without.

    Example:
        >>> head = GaussianHead().fit([[0.0], [1.0], [8.0], [9.0]], ["cat", "cat", "dog", "dog"])
        >>> head.predict([[2.0], [6.0]]).tolist()
        ['cat', 'dog']
        >>> head.update([[20.0], [21.0]], ["fox", "fox"]).predict([[19.0]]).tolist()
        ['fox']

    :func:`semscale_pl.fused_scores` adds the scores of any trained classifier.
    """

    # Of the samples that are there; None where some have come or gone since.
    _solution: tuple[Discriminant, ClassCovariances | None] | None = None

    def __init__(
        self,
        shrinkage: float | str | None = None,
        k: float | None = None,
        temperature: float | None = None,
        *,
        voices: str = "equal",
        borrowing: str = "similar",
        prior: Any = "uniform",
        criterion: str = "log_loss",
        class_covariances: int = 0,
        covariance_k: float = 100.0,
    ) -> None:
        self.shrinkage, self.k, self.temperature = shrinkage, k, temperature
        self.voices, self.borrowing, self.prior, self.criterion = voices, borrowing, prior, criterion
        self.class_covariances, self.covariance_k = class_covariances, covariance_k

    def fit(self, X: Any, y: Any) -> GaussianHead:
        """Fit on features (N, D) and labels (N,), and choose the settings that are None.

        Raises:
            ValueError: a setting is out of range, or the arrays do not fit together.
        """
        self._check()
        features, labels = self._validated(X, y, reset=True)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        self.moments_ = DiscriminantMoments.of(features, torch.from_numpy(numbers), len(self.classes_), self.voices)
        self._class_moments: ClassMoments | None = None
        self._choose(features, torch.from_numpy(numbers))
        self._projected: ClassMoments | None = None
        if self.class_covariances:
            self._directions = leading_directions(self.moments_, self.class_covariances)
            self._projected = ClassMoments(len(self.classes_), self._directions.shape[1])
            self._projected.refill(features.double() @ self._directions, torch.from_numpy(numbers))
        return self._solve()

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> GaussianHead:
        """Take in a batch of features (B, D) and labels (B,); after all of them, the moments are those of one `fit`.

        With equal voices the scatter of each class is kept, C D^2 numbers, since their weights follow the counts.

        Args:
            X, y: the batch.
            classes: all labels that will come, for the first batch.
        """
        self._check()
        if self.class_covariances:
            raise ValueError(
                f"Expected `class_covariances` to be 0 for partial_fit, but got {self.class_covariances}, whose "
                "directions need all samples first. Leave it at 0, or call fit."
            )
        if self.shrinkage == "ledoit_wolf":
            raise ValueError(
                "Expected `shrinkage` to be a number, oas or None for partial_fit, but got 'ledoit_wolf', which looks "
                "at all samples twice. Take oas, or call fit."
            )
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("Expected `classes` in the first call of partial_fit, but got none. Give all labels.")
        features, labels = self._validated(X, y, reset=first)
        known = np.unique(np.asarray(classes)) if first else self.classes_
        numbers = _numbers(labels, known)
        if first:
            self._check_prior(len(known))
            self.classes_ = known
            size, width = len(self.classes_), features.shape[1]
            self._class_moments = ClassMoments(size, width) if self.voices == "equal" else None
            self.moments_, self._projected = DiscriminantMoments(size, width, self.voices), None
        self._exchange(features, numbers, "add")
        if first:
            self.settings_ = self._settings()
            self.tried_: list[dict[str, float]] = []
        if self.shrinkage == "oas":
            self.settings_ = self._settings(estimated_shrinkage(self.moments_, "oas"))
        return self._solve()

    def update(self, X: Any, y: Any) -> GaussianHead:
        """Add samples (B, D) with labels (B,), new classes among them; settings that were chosen stay as they are.

        The weights are solved for when they are next asked for, so that many updates cost one solution.

        Raises:
            ValueError: labels are of another kind than those of the head, numbers or text, or the prior is a list that
                has no number for a new class; nothing is changed then.
        """
        check_is_fitted(self)
        features, labels = self._validated(X, y, reset=False)
        if _is_text(labels) != _is_text(self.classes_):
            kinds = ("text", "numbers") if _is_text(self.classes_) else ("numbers", "text")
            raise ValueError(
                f"Expected labels that are {kinds[0]}, as those of the head, but got {kinds[1]}, such as "
                f"{labels[0]!s}. Give labels of one kind."
            )
        new = np.setdiff1d(np.unique(labels), self.classes_)
        if len(new):
            self._check_prior(len(self.classes_) + len(new))
            self.settings_ = replace(self.settings_, prior=self._settings().prior)
            self.classes_ = np.concatenate([self.classes_, new])
            self.moments_ = self.moments_.extended(len(self.classes_))
            if self._class_moments is not None:
                self._class_moments = _extended(self._class_moments, len(self.classes_))
            if self._projected is not None:
                self._projected = _extended(self._projected, len(self.classes_))
        self._exchange(features, _numbers(labels, self.classes_), "add")
        self._solution = None
        return self

    def remove(self, X: Any, y: Any) -> GaussianHead:
        """Take samples (B, D) with labels (B,) out that were fitted or added; a class without any is never predicted.

        Raises:
            ValueError: a label is unknown, has fewer samples, no sample would be left, or the samples spread more than
                all that were there; nothing is changed then.
        """
        check_is_fitted(self)
        features, labels = self._validated(X, y, reset=False)
        numbers = _numbers(labels, self.classes_)
        left = self.moments_.counts - torch.bincount(numbers, minlength=len(self.classes_))
        if int(left.clamp_min(0).sum()) == 0:
            raise ValueError("Expected a sample to be left, but all were to be removed. Fit a new head instead.")
        if int(left.min()) < 0:
            at = int(left.argmin())
            raise ValueError(
                f"Expected to remove at most the {int(self.moments_.counts[at])} samples of class "
                f"{self.classes_[at]!s}, but got {int(self.moments_.counts[at] - left[at])}. Remove each once."
            )
        self.moments_.check_removal(features, numbers)
        self._exchange(features, numbers, "remove")
        self._solution = None
        return self

    @property
    def coef_(self) -> np.ndarray:
        """Weights (C, D), float64."""
        return self._solved()[0].weight.numpy()

    @property
    def intercept_(self) -> np.ndarray:
        """Offsets (C,), float64; -inf for a class without samples."""
        return self._solved()[0].offset.numpy()

    @property
    def covariances_(self) -> ClassCovariances | None:
        """What covariances of the classes' own add to the scores; None without."""
        return self._solved()[1]

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores (N, C), log-posteriors but for what all classes share; of two classes their difference."""
        scores = self._scores(X).numpy()
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (N, C) of the classes."""
        return self._scores(X).softmax(dim=1).numpy()

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the log-probabilities (N, C) of the classes, of two classes too; -inf for one without samples."""
        return self._scores(X).log_softmax(dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Return the labels (N,) of the most probable classes."""
        scores = self._scores(X)  # before classes_ is asked for: it refuses a head that is not fitted
        return self.classes_[scores.argmax(dim=1).numpy()]

    def _scores(self, X: Any) -> Tensor:
        check_is_fitted(self)
        features = validate_data(self, _array(X), dtype=[np.float64, np.float32], reset=False)
        rows = torch.from_numpy(features).double()
        found, covariances = self._solved()
        scores = rows @ found.weight.T + found.offset
        return scores if covariances is None else scores + covariances.scores(rows)

    def _check(self) -> None:
        check("GaussianHead", shrinkage=self.shrinkage, k=self.k, temperature=self.temperature)
        check(class_covariances=self.class_covariances, covariance_k=self.covariance_k)

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Tensor, np.ndarray]:
        features, labels = validate_data(self, _array(X), _array(y), dtype=[np.float64, np.float32], reset=reset)
        check_classification_targets(labels)
        return torch.from_numpy(np.require(features, requirements=["C", "W"])), labels

    def _check_prior(self, num_classes: int) -> None:
        """Refuse a list of priors for another number of classes before anything is changed."""
        if not isinstance(self.prior, str) and np.shape(self.prior) != (num_classes,):
            raise ValueError(
                f"Expected `prior` to have a number for each of the {num_classes} classes, new ones last, but got "
                f"shape {np.shape(self.prior)}. Set it by set_params(prior=...) first."
            )

    def _settings(self, shrinkage: float | None = None) -> DiscriminantSettings:
        if shrinkage is None:
            shrinkage = 0.5 if self.shrinkage is None or isinstance(self.shrinkage, str) else float(self.shrinkage)
        prior = self.prior if isinstance(self.prior, str) else torch.as_tensor(np.asarray(self.prior, dtype=float))
        return DiscriminantSettings(
            shrinkage,
            10.0 if self.k is None else float(self.k),
            self.borrowing,
            prior=prior,
            temperature=1.0 if self.temperature is None else float(self.temperature),
        )

    def _choose(self, features: Tensor, labels: Tensor) -> None:
        shrinkage = None
        if isinstance(self.shrinkage, str):
            shrinkage = estimated_shrinkage(self.moments_, self.shrinkage, features, labels)
        self.settings_ = self._settings(shrinkage)
        names = [name for name in ("shrinkage", "k", "temperature") if getattr(self, name) is None]
        self.settings_, self.tried_ = choose_open(
            self.moments_, features, labels, self.settings_, names, self.criterion
        )

    def _exchange(self, features: Tensor, labels: Tensor, way: str) -> None:
        if self._projected is not None:
            getattr(self._projected, way)(features.double() @ self._directions, labels)
        if self._class_moments is None:
            getattr(self.moments_, way)(features, labels)
            return
        getattr(self._class_moments, way)(features, labels)
        self.moments_ = DiscriminantMoments.of_classes(self._class_moments, self.voices)

    def _solve(self) -> GaussianHead:
        self._solution = None
        self._solved()
        return self

    def _solved(self) -> tuple[Discriminant, ClassCovariances | None]:
        if self._solution is None:
            covariances = None
            if self._projected is not None:
                covariances = class_covariances(
                    self.moments_, self._projected, self._directions, self.settings_, self.covariance_k
                )
            self._solution = gaussian_discriminant(self.moments_, self.settings_), covariances
        return self._solution


def _array(values: Any) -> Any:
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # numpy has no such type


def _is_text(labels: np.ndarray) -> bool:
    return isinstance(labels.tolist()[0], str)


def _numbers(labels: np.ndarray, classes: np.ndarray) -> Tensor:
    """Return the positions (B,) of labels among classes (C,)."""
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    unknown = [label for label in np.unique(labels).tolist() if label not in numbers]
    if unknown:
        raise ValueError(
            f"Expected labels among the {len(numbers)} classes of the head, but got {unknown[0]!r}. "
            "New classes come by update."
        )
    return torch.tensor([numbers[label] for label in labels.tolist()])


def _extended(moments: ClassMoments, num_classes: int) -> ClassMoments:
    """Return a copy with room for C classes, the new ones empty and last."""
    other = ClassMoments(num_classes, moments.num_features)
    for name in ("counts", "shift", "sums", "second"):
        getattr(other, name)[: moments.num_classes] = getattr(moments, name)
    return other
