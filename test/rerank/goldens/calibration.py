"""Writes test/golden/calibration.json with scikit-learn and scipy: python calibration.py > FILE."""

import json

import numpy as np
import scipy
import sklearn
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import beta
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

random = np.random.default_rng(7)


def rounded(values, places=12):
    return [round(float(value), places) for value in values]


def draw(count):
    labels = random.random(count) < 0.3
    scores = np.round(random.normal(np.where(labels, 1.5, -1.0), 1.6), 1)
    return scores, labels


def exact_platt(scores, labels):
    """Platt's regularised likelihood, minimised to the last digits."""
    positives = labels.sum()
    targets = np.where(
        labels, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2)
    )

    def loss(p):
        x = p[0] * scores + p[1]
        return np.sum(np.logaddexp(0, x) - targets * x)

    def gradient(p):
        error = expit(p[0] * scores + p[1]) - targets
        return np.array([error @ scores, error.sum()])

    return minimize(loss, [0.0, 0.0], jac=gradient, method="BFGS", options={"gtol": 1e-9}).x


scores, labels = draw(200)
probes = np.linspace(-8, 8, 33)
sigmoid = _SigmoidCalibration().fit(scores, labels.astype(int))
slope, intercept = exact_platt(scores, labels)
isotonic = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1)
isotonic.fit(scores, labels.astype(float))
intervals = []
for count, total in [(0, 20), (3, 20), (20, 20), (1, 1000), (57, 1234), (40000, 100000)]:
    for confidence in (0.9, 0.95):
        tail = (1 - confidence) / 2
        low = 0 if count == 0 else beta.ppf(tail, count, total - count + 1)
        high = 1 if count == total else beta.ppf(1 - tail, count + 1, total - count)
        intervals.append([count, total, confidence, *rounded([low, high])])
print(
    json.dumps(
        {
            "versions": {"scikit-learn": sklearn.__version__, "scipy": scipy.__version__},
            "scores": rounded(scores),
            "labels": [bool(label) for label in labels],
            "probes": rounded(probes),
            "platt": {
                "slope": float(slope),
                "intercept": float(intercept),
                "sklearn": rounded(sigmoid.predict(probes)),
            },
            "isotonic": rounded(isotonic.predict(probes)),
            "isotonicFit": rounded(isotonic.predict(scores)),
            "clopperPearson": intervals,
        }
    )
)
