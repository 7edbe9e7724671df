"""The lifecycle model beside `lifetimes` from PyPI, in one run.

    python3 -m venv bench && bench/bin/pip install lifetimes pyarrow
    bench/bin/python tests/bench/lifecycle.py

simulates 1,000,000 buyers (MBG/NBD, seeded; first orders over two years), fits them with `lifetimes` and with Alluvial
(`cargo bench --bench lifecycle`: merging of equal histories included, one thread), scores them, and fits the 2,357
customers of data/cdnow. Prints one table, and ends with 1 if a target is missed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRUTH = (0.6, 45.0, 0.8, 1.9)


def simulated(buyers, seed):
    """frequency, recency and age in days of simulated buyers, orders of one day merged."""
    rng = np.random.default_rng(seed)
    r, alpha, a, b = TRUTH
    age = rng.integers(1, 731, buyers)
    rate, dropout = rng.gamma(r, 1 / alpha, buyers), rng.beta(a, b, buyers)
    at, days = np.zeros(buyers), np.zeros(buyers, dtype=np.int64)
    frequency = np.zeros(buyers, dtype=np.int64)
    active = rng.random(buyers) >= dropout
    while active.any():
        who = np.flatnonzero(active)
        at[who] += rng.exponential(1 / np.maximum(rate[who], 1e-12))
        ordered = at[who] <= age[who]
        day = np.minimum(at[who], age[who]).astype(np.int64)
        new_day = ordered & (day > days[who])
        frequency[who[new_day]] += 1
        days[who[new_day]] = day[new_day]
        active[who] = ordered & (rng.random(len(who)) >= dropout[who])
    return frequency, np.where(frequency > 0, days, 0), age


def cdnow():
    """The same of CDNOW's sample as of 1997-09-30."""
    import pyarrow.parquet as pq

    table = pq.read_table(ROOT / "data/cdnow/cdnow_sample.parquet").to_pydict()
    end = np.datetime64("1997-09-30")
    days = {}
    for customer, day in zip(table["customer_id"], table["ordered_at"]):
        if np.datetime64(day) <= end:
            days.setdefault(customer, set()).add(np.datetime64(day))
    whole = lambda delta: int(delta / np.timedelta64(1, "D"))
    rows = [(len(d) - 1, whole(max(d) - min(d)), whole(end - min(d))) for d in days.values()]
    return tuple(np.array(column) for column in zip(*rows))


def written(folder, name, columns):
    path = os.path.join(folder, name)
    np.stack([np.asarray(column, dtype="<u4") for column in columns], axis=1).tofile(path)
    return path


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--buyers", type=int, default=1_000_000)
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args()
    from lifetimes import ModifiedBetaGeoFitter

    warnings.simplefilter("ignore")
    many, few = simulated(asked.buyers, asked.seed), cdnow()

    def theirs(columns):
        began = time.perf_counter()
        fitter = ModifiedBetaGeoFitter(penalizer_coef=0.0)
        fitter.fit(*[np.asarray(column, dtype=float) for column in columns])
        return time.perf_counter() - began, fitter

    fit_seconds, fitter = theirs(many)
    sample_seconds = min(theirs(few)[0] for _ in range(3))
    began = time.perf_counter()
    x, recency, age = [np.asarray(column, dtype=float) for column in many]
    fitter.conditional_probability_alive(x, recency, age)
    fitter.conditional_expected_number_of_purchases_up_to_time(365, x, recency, age)
    score_seconds = time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        files = [written(folder, "many", many), written(folder, "few", few)]
        command = ["cargo", "bench", "--locked", "--bench", "lifecycle", "--", *files]
        ran = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    ours = json.loads(ran.stdout.strip().splitlines()[-1])

    ratio = fit_seconds / ours["fit_seconds"]
    print(f"{asked.buyers:,} simulated buyers, {ours['histories']:,} histories{' in weeks' if ours['weekly'] else ''}, one thread")
    print(f"{'':34}{'lifetimes':>10}{'Alluvial':>10}{'ratio':>8}")
    print(f"{'MBG/NBD fit, merging included, s':34}{fit_seconds:>10.2f}{ours['fit_seconds']:>10.3f}{ratio:>8.1f}")
    print(f"{'  of which merging, s':34}{'':>10}{ours['merge_seconds']:>10.3f}")
    print(f"{'scoring, s (theirs: two numbers)':34}{score_seconds:>10.2f}{ours['score_seconds']:>10.3f}")
    print(f"{'CDNOW, 2,357 buyers, fit, ms':34}{sample_seconds * 1e3:>10.1f}{ours['sample_fit_seconds'] * 1e3:>10.2f}")
    names = ["r", "alpha", "a", "b"]
    print("parameters", *(f"{n} {p:.3f} ({fitter.params_[k]:.3f})" for n, k, p in zip(names, fitter.params_.index, ours["parameters"])))
    missed = [
        text
        for met, text in [
            (ratio >= 15, "the fit is less than 15 times as fast"),
            (ours["fit_seconds"] <= 0.5, "the fit takes more than 0.5 s"),
            (ours["score_seconds"] <= 0.5, "scoring takes more than 0.5 s"),
            (ours["sample_fit_seconds"] <= 0.010, "CDNOW takes more than 10 ms"),
        ]
        if not met
    ]
    for text in missed:
        print(f"missed: {text}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
