#!/usr/bin/env python
"""Gradient boosting beside XGBoost and LightGBM on the same rows, by turns, process CPU time.

  cargo build --release -p stakeout-benches --bin gbt_rows
  python benches/peers/gbt.py PEERS target/release/gbt_rows [--threads 1] [--boosts 100] [--rounds 3]

PEERS holds `gbt_data.py` and the peers' scripts `gbt_xgboost.py` and `gbt_lightgbm.py`, which are run as they are. All
use learning rate 0.1, depth 6, 255 bins, lambda 1, no sampling of rows or inputs. The ratio is peer / ours: above 1, ours
is faster."""
import argparse, json, os, re, statistics, subprocess, sys


def peer(folder, script, threads, boosts):
    run = [sys.executable, script, str(threads), str(boosts)]
    text = subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True).stdout
    number = lambda key: float(re.search(rf"\b{key}=([0-9.]+)", text)[1])
    return {"cpu": number("cpu"), "wall": number("wall"), "accuracy": number("acc"), "log_loss": number("logloss")}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("peers"); ap.add_argument("binary")
    ap.add_argument("--threads", type=int, default=1); ap.add_argument("--boosts", type=int, default=100)
    ap.add_argument("--rounds", type=int, default=3)
    a = ap.parse_args()
    if not os.path.exists(os.path.join(a.peers, "xtr.f32")):
        subprocess.run([sys.executable, "gbt_data.py"], cwd=a.peers, check=True)
    binary = os.path.abspath(a.binary)
    ours = lambda: json.loads(subprocess.run([binary, a.peers, str(a.threads), str(a.boosts)], check=True, capture_output=True, text=True).stdout)
    runners = {"ours": ours}
    for name in ("xgboost", "lightgbm"):
        runners[name] = lambda name=name: peer(a.peers, f"gbt_{name}.py", a.threads, a.boosts)
    results = {name: [] for name in runners}
    for _ in range(a.rounds):
        for name, run in runners.items():
            results[name].append(run())
    median = lambda name, key: statistics.median(r[key] for r in results[name])
    print(f"{a.boosts} boosting rounds, {a.threads} thread(s), median of {a.rounds} runs by turns")
    print(f"{'':10}{'CPU s':>8}{'wall s':>8}{'accuracy':>10}{'log-loss':>10}{'CPU ratio':>11}")
    for name in runners:
        row = {key: median(name, key) for key in ("cpu", "wall", "accuracy", "log_loss")}
        ratio = row["cpu"] / median("ours", "cpu")
        print(f"{name:10}{row['cpu']:8.1f}{row['wall']:8.1f}{row['accuracy']:10.4f}{row['log_loss']:10.4f}{ratio:11.2f}")


if __name__ == "__main__":
    main()
