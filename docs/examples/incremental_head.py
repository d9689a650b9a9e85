"""A head to which samples and a class come, and from which samples are taken again, without training: digits' pixels.

Run it: python docs/examples/incremental_head.py
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.datasets import load_digits

import semscale_pl as ss


def main() -> dict[str, float]:
    """Fit nine digits, add the tenth, then take back samples that should not have been there."""
    features, labels = load_digits(return_X_y=True)
    test = np.arange(len(labels)) % 3 == 0
    x, y = features[~test], labels[~test]
    accuracy: dict[str, float] = {}

    head = ss.GaussianHead().fit(x[y < 9], y[y < 9])
    accuracy["nine digits known"] = head.score(features[test], labels[test])

    started = time.perf_counter()
    head.update(x[y == 9], y[y == 9])
    print(f"a class more in {1e3 * (time.perf_counter() - started):.1f} ms: {head.classes_.tolist()}")
    accuracy["the tenth added"] = head.score(features[test], labels[test])

    before = head.predict_proba(features[test])
    wrong, called = x[y == 1][:40], np.full(40, 7)
    head.update(wrong, called)
    accuracy["40 ones called sevens"] = head.score(features[test], labels[test])
    head.remove(wrong, called)
    accuracy["taken out again"] = head.score(features[test], labels[test])
    print("what is left of them:", np.abs(head.predict_proba(features[test]) - before).max())
    for state, right in accuracy.items():
        print(f"{100 * right:5.1f} % right with {state}")
    return accuracy


if __name__ == "__main__":
    main()
