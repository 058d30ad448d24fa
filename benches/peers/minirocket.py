#!/usr/bin/env python
"""MiniRocket beside aeon's on data of the same shape: 275 series of 9 channels and 144 steps in 25 classes.

  python -m venv PEERS && PEERS/bin/pip install aeon
  cargo xtask bench --peers PEERS minirocket [--threads 1] [--rounds 5]

Both draw 9,996 features, choose alpha of the ridge regression by leaving one series out (aeon among ten,
ours among those and three more), and compute in 32 bits.
aeon is warmed up before it is timed; what the warm-up takes is printed by itself. Process CPU; the ratio is aeon / ours:
above 1, ours is faster."""
import argparse, json, os, statistics, subprocess, time

ROWS, CHANNELS, STEPS, CLASSES = 275, 9, 144, 25


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--threads", type=int, default=1); ap.add_argument("--rounds", type=int, default=5)
    a = ap.parse_args()
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(a.threads)
    import numpy as np
    from aeon.transformations.collection.convolution_based import MiniRocket
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(1)
    labels = np.arange(ROWS) % CLASSES
    series = rng.random((ROWS, CHANNELS, STEPS), dtype=np.float32)
    series[:, ::5] += 0.03 * labels[:, None, None] * np.arange(STEPS, dtype=np.float32)

    def fit():
        rocket = MiniRocket(n_kernels=10_000, n_jobs=a.threads, random_state=1)
        features = rocket.fit_transform(series)
        scaler = StandardScaler(with_mean=False)
        ridge = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)).fit(scaler.fit_transform(features), labels)
        return lambda x: ridge.decision_function(scaler.transform(rocket.transform(x)))

    def clock(work):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        return result, time.perf_counter() - wall, time.process_time() - cpu

    predict, warm, _ = clock(fit)
    warm += clock(lambda: predict(series[:1]))[1]
    binary = os.path.join(os.path.dirname(__file__), "../../target/release/rocket_fit")
    run = [binary, *map(str, (ROWS, CHANNELS, STEPS, CLASSES))]
    rows = {"fit, CPU s": ([], []), "predict all, CPU us a series": ([], []), "predict one by one, wall us": ([], [])}
    for _ in range(a.rounds):
        ours = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
        predict, _, fitted = clock(fit)
        _, _, scored = clock(lambda: predict(series))
        _, alone, _ = clock(lambda: [predict(series[i : i + 1]) for i in range(ROWS)])
        us = 1e6 / ROWS
        pairs = [(ours["fit"]["cpu"], fitted), (ours["score"]["cpu"] * us, scored * us), (ours["one_by_one"]["wall"] * us, alone * us)]
        for (mine, theirs), (x, y) in zip(rows.values(), pairs):
            mine.append(x); theirs.append(y)
    print(f"{ROWS} series, {CHANNELS} x {STEPS}, {CLASSES} classes, {a.threads} thread(s), median of {a.rounds} runs by turns")
    print(f"{'':32}{'ours':>10}{'aeon':>10}{'ratio':>8}")
    for name, (mine, theirs) in rows.items():
        x, y = statistics.median(mine), statistics.median(theirs)
        print(f"{name:32}{x:10.3f}{y:10.3f}{y / x:8.2f}")
    print(f"first fit and prediction in a new process: aeon {warm:.1f} s, compilation included")


if __name__ == "__main__":
    main()
