#!/usr/bin/env python
"""Gradient boosting beside XGBoost (hist) and LightGBM on the same rows, by turns.

  cargo xtask bench --peers VENV gbt FOLDER target/release/gbt_rows [--threads 1 2] [--bins 64 256] [--boosts 100] [--rounds 5]

FOLDER is scratch: 50,000 rows to train on and 12,500 held out are generated there, 460 inputs, 7 classes of unequal size,
a seventh of the inputs skewed as counters are, an eleventh mostly zero. All sides: learning rate 0.1, depth 6, lambda 1,
least weight of a leaf 1, no sampling of rows or inputs. A ratio is peer / ours: above 1, ours is faster. Where they differ:
ours has at most 255 bins and one more for missing values; LightGBM's second derivative has the factor K / (K - 1), the
others' 2, so that its steps are longer and its loss falls faster in early rounds.

`--allocator LIB` runs each peer with LIB preloaded as well; the faster of both medians counts. Ours has mimalloc built in."""
import argparse, json, os, statistics, subprocess, sys, time

ROWS, HELD_OUT, INPUTS, CLASSES = 50_000, 12_500, 460, 7
SIDES = ("ours", "xgboost", "lightgbm")


def generate(folder):
    import numpy as np
    rng = np.random.default_rng(20)
    share = np.array([40, 20, 12, 10, 8, 6, 4]) / 100
    labels = rng.choice(CLASSES, ROWS + HELD_OUT, p=share)
    # a dozen hidden causes, a little different from class to class, that each input mixes a few of
    causes = rng.normal(size=(len(labels), 12)) + 0.55 * rng.normal(size=(CLASSES, 12))[labels]
    mixing = rng.normal(size=(12, INPUTS)) * (rng.random((12, INPUTS)) < 0.12)
    values = causes @ mixing + 1.5 * rng.normal(size=(len(labels), INPUTS))
    values[:, ::7] = np.exp(values[:, ::7].clip(-8, 8) / 2)
    values[:, ::11] = np.rint(values[:, ::11].clip(0))
    for name, rows in (("tr", slice(None, ROWS)), ("te", slice(ROWS, None))):
        values[rows].astype("<f4").tofile(os.path.join(folder, f"x{name}.f32"))
        labels[rows].astype("<i4").tofile(os.path.join(folder, f"y{name}.i32"))


def peer(name, folder, threads, boosts, bins):
    """Fits one peer in this process and prints what `gbt_rows` prints. What it makes of the rows counts, reading does not."""
    import numpy as np
    read = lambda file, kind: np.fromfile(os.path.join(folder, file), kind)
    x, held_out = (read(file, "<f4").reshape(-1, INPUTS) for file in ("xtr.f32", "xte.f32"))
    y, truth = read("ytr.i32", "<i4"), read("yte.i32", "<i4")
    if name == "xgboost":
        import xgboost as library
        settings = dict(objective="multi:softprob", num_class=CLASSES, tree_method="hist", max_depth=6, eta=0.1,
                        min_child_weight=1, reg_lambda=1, max_bin=bins, nthread=threads)
        fit = lambda: library.train(settings, library.QuantileDMatrix(x, y, max_bin=bins, nthread=threads), boosts)
        predict = lambda model: model.predict(library.DMatrix(held_out, nthread=threads))
    else:
        import lightgbm as library
        settings = dict(objective="multiclass", num_class=CLASSES, max_depth=6, num_leaves=64, learning_rate=0.1,
                        min_sum_hessian_in_leaf=1, min_data_in_leaf=1, lambda_l2=1, max_bin=min(bins, 255),
                        num_threads=threads, verbosity=-1)
        fit = lambda: library.train(settings, library.Dataset(x, y), boosts)
        predict = lambda model: model.predict(held_out)
    wall, cpu = time.perf_counter(), time.process_time()
    model = fit()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    scores = predict(model)
    loss = -np.log(scores[np.arange(len(truth)), truth].clip(1e-9)).mean()
    accuracy = (scores.argmax(1) == truth).mean()
    print(json.dumps(dict(wall=wall, cpu=cpu, accuracy=float(accuracy), log_loss=float(loss), version=library.__version__)))


def run(command, preload=None):
    environment = dict(os.environ, LD_PRELOAD=preload) if preload else None
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder"); ap.add_argument("binary")
    ap.add_argument("--threads", type=int, nargs="+", default=[1, 2]); ap.add_argument("--bins", type=int, nargs="+", default=[64, 256])
    ap.add_argument("--boosts", type=int, default=100); ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--allocator"); ap.add_argument("--peer", choices=SIDES[1:], help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.peer:
        return peer(a.peer, a.folder, a.threads[0], a.boosts, a.bins[0])
    os.makedirs(a.folder, exist_ok=True)
    if not os.path.exists(os.path.join(a.folder, "yte.i32")):
        generate(a.folder)
    print(f"{a.boosts} boosting rounds, median of {a.rounds} by turns; ratios are peer / ours")
    print(f"{'bins':>4} {'threads':>7} {'':10}{'wall s':>8}{'CPU s':>8}{'wall ratio':>11}{'CPU ratio':>10}{'log-loss':>10}{'accuracy':>9}")
    for bins in a.bins:
        for threads in a.threads:
            results = {}
            for _ in range(a.rounds):
                for side in SIDES:
                    if side == "ours":
                        ways = [([os.path.abspath(a.binary), a.folder, str(threads), str(a.boosts), json.dumps({"max_bins": min(bins, 255)})], None)]
                    else:
                        own = [sys.executable, __file__, a.folder, a.binary, "--peer", side, "--threads", str(threads), "--boosts", str(a.boosts), "--bins", str(bins)]
                        ways = [(own, None)] + ([(own, a.allocator)] if a.allocator else [])
                    for command, preload in ways:
                        results.setdefault(side, {}).setdefault(preload, []).append(run(command, preload))
            middle = lambda runs, key: statistics.median(r[key] for r in runs)
            ours = results["ours"][None]
            for side in SIDES:
                runs = min(results[side].values(), key=lambda runs: middle(runs, "wall"))
                row = {key: middle(runs, key) for key in ("wall", "cpu", "log_loss", "accuracy")}
                print(f"{bins:4} {threads:7} {side:10}{row['wall']:8.2f}{row['cpu']:8.2f}{row['wall'] / middle(ours, 'wall'):11.2f}"
                      f"{row['cpu'] / middle(ours, 'cpu'):10.2f}{row['log_loss']:10.4f}{row['accuracy']:9.4f}", flush=True)
            print(f"{'':13}ours scores one window in {middle(ours, 'score_us'):.1f} µs")


if __name__ == "__main__":
    main()
