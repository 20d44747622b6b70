"""What scipy says of paired differences: writes test/golden/statistics.json.

    pip install scipy==1.17.1 && python statistics.py

Differences are those of a measure between two systems, rounded so that the file is the data.
"""
import json
import pathlib

import numpy
import scipy
from scipy import stats

ROUNDS = 200_000
GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "statistics.json"


def difference(values, axis=-1):
    return numpy.mean(values, axis=axis)


def case(name, values, random):
    values = numpy.round(numpy.asarray(values, dtype=float), 4)
    test = stats.permutation_test(
        (values,), difference, permutation_type="samples", n_resamples=ROUNDS,
        alternative="two-sided", vectorized=True, batch=2_000, random_state=random)
    interval = stats.bootstrap(
        (values,), numpy.mean, n_resamples=50_000, batch=1_000, method="BCa",
        confidence_level=0.95, random_state=random).confidence_interval
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    return {
        "name": name, "values": values.tolist(), "mean": float(values.mean()),
        "exact": 2 ** len(values) <= ROUNDS, "p": float(test.pvalue),
        "low": float(interval.low), "high": float(interval.high),
        "minimumDetectable": float(z * values.std(ddof=1) / numpy.sqrt(len(values)))}


def main():
    random = numpy.random.default_rng(20)
    # Most queries do not change, as after reranking.
    sparse = numpy.where(random.random(150) < 0.6, 0, random.normal(0.06, 0.25, 150))
    cases = [
        case("a known shift, 12 queries: exact", random.normal(0.08, 0.1, 12), random),
        case("ties and zeros, 10 queries: exact", [0.5, 0, 0, -0.5, 0.25, 0.25, 1, 0, 0.5, 0.25], random),
        case("a known shift, 79 queries", random.normal(0.05, 0.2, 79), random),
        case("no shift, 60 queries", random.normal(0, 0.2, 60), random),
        case("skewed, 150 queries", sparse, random),
        case("a small loss, 300 queries", random.normal(-0.02, 0.15, 300), random),
    ]
    ps = [case["p"] for case in cases]
    order = numpy.argsort(ps)
    # Holm from its definition: scipy has no function for it.
    steps = [(len(ps) - rank) * ps[place] for rank, place in enumerate(order)]
    adjusted = numpy.empty(len(ps))
    adjusted[order] = numpy.minimum(1, numpy.maximum.accumulate(steps))
    GOLDEN.write_text(json.dumps({
        "peer": {"library": "scipy", "version": scipy.__version__},
        "rounds": ROUNDS, "cases": cases, "holm": adjusted.tolist()}) + "\n")


main()
