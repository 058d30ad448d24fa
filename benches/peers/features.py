#!/usr/bin/env python
"""The window kernel beside a numba kernel, on the same files, one thread, process CPU time, by turns.

  cargo build --release -p stakeout-benches --bin window_telemetry
  python benches/peers/features.py PEERS target/release/window_telemetry [--rounds 5]

PEERS holds `bench_features.py` (its numba kernel and its float64 reference are run as they are) and the data that
`gen_telemetry.py` makes there. The default five statistics (mean, std, 95th percentile, slope, share of zero steps) have
no kernel there: `five` below is the numba twin, written for this comparison, one pass a window and a short sorted list of
the largest values. Both outputs are checked first: error = |d| / (|reference| + 1), at most 1e-4."""
import argparse, json, os, subprocess, sys, tempfile

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "ARROW_NUM_THREADS"):
    os.environ[name] = "1"
import time
import numba as nb
import numpy as np

STATISTICS = ("mean", "std", "p95", "slope", "zero_share")


@nb.njit
def five(t, x, S, T, c0):
    """S (windows, 5, channels), T (windows, channels, 20); t in seconds, x (rows, columns) float32."""
    n, C = x.shape
    sums = np.zeros((240, C)); cnt = np.zeros(240, np.int64); means = np.empty((240, C), np.float32)
    for i in range(n):
        b = min(max(int(t[i] * 2.0), 0), 239); cnt[b] += 1
        for j in range(C): sums[b, j] += x[i, j]
    for b in range(240):
        for j in range(C): means[b, j] = sums[b, j] / cnt[b] if cnt[b] else np.nan
    s1 = np.empty(C); s2 = np.empty(C); sx = np.empty(C); K = 8; top = np.empty((C, K), np.float32)
    lo = 0; hi = 0
    for w in range(S.shape[0]):
        a = w * 5.0
        while lo < n and t[lo] < a: lo += 1
        hi = max(hi, lo)
        while hi < n and t[hi] < a + 10.0: hi += 1
        m = hi - lo; tm = 0.0
        for i in range(lo, hi): tm += t[i]
        tm /= m; tt = 0.0; s1[:] = 0; s2[:] = 0; sx[:] = 0; top[:] = -np.inf
        h = 0.95 * (m - 1); below = int(h); need = m - below
        assert need <= K
        for i in range(lo, hi):
            u = t[i] - tm; tt += u * u
            for j in range(C):
                v = x[i, j]; d = np.float64(v) - np.float64(x[lo, j]); s1[j] += d; s2[j] += d * d; sx[j] += u * d
                if v > top[j, need - 1]:
                    k = need - 1
                    while k > 0 and top[j, k - 1] < v: top[j, k] = top[j, k - 1]; k -= 1
                    top[j, k] = v
        for j in range(C):
            d = s1[j] / m
            S[w, 0, c0 + j] = x[lo, j] + d; S[w, 1, c0 + j] = np.sqrt(max(s2[j] / m - d * d, 0.0)); S[w, 3, c0 + j] = sx[j] / tt
            low = np.float64(top[j, need - 1]); high = np.float64(top[j, max(need - 2, 0)]); S[w, 2, c0 + j] = low + (high - low) * (h - below)
            zero = 0; seen = 0
            for k in range(20):
                v = means[w * 10 + k, j]; T[w, c0 + j, k] = v
                if not np.isnan(v):
                    seen += 1
                    if v == 0: zero += 1
            S[w, 4, c0 + j] = zero / seen if seen else np.nan


def prepared(b):
    """Every episode and source in memory, on the reference clock: (episode, first channel, seconds, values)."""
    hosts, clocks = b.meta(); out = []; base = 0
    for h, eps in hosts.items():
        c0 = 0
        for s in b.SRC:
            E, ts, X = b.read_np(h, s, eps); tr = b.ref(ts, *clocks[h, s]); cut = np.searchsorted(E, [e for e, _ in eps] + [eps[-1][0] + 1])
            for k, (e, t0) in enumerate(eps):
                out.append((base + k, c0, np.clip((tr[cut[k]:cut[k + 1]] - (t0 - b.EPOCH)) * 1e-9, 0, b.DUR - 1e-9), X[cut[k]:cut[k + 1]]))
            c0 += X.shape[1]
        base += len(eps)
    return out, base


def run_five(data, S, T):
    c = time.process_time()
    for e, c0, t, x in data: five(t, x, S[e], T[e], c0)
    return time.process_time() - c


def reference_five(data, S):
    """float64, one window at a time."""
    for e, c0, t, x in data:
        C = x.shape[1]; x = x.astype(np.float64); edges = (t * 2).astype(int).clip(0, 239)
        lo = np.searchsorted(t, np.arange(23) * 5); hi = np.searchsorted(t, np.arange(23) * 5 + 10)
        count = np.bincount(edges, minlength=240); first = np.r_[0, np.cumsum(count)[:-1]]
        with np.errstate(all="ignore"):
            means = np.stack([x[a:a + n].sum(0) / n if n else np.full(C, np.nan) for a, n in zip(first, count)]).astype(np.float32)
        for w in range(23):
            v = x[lo[w]:hi[w]]; u = t[lo[w]:hi[w]]; u = u - u.mean(); steps = means[w * 10:w * 10 + 20]; seen = ~np.isnan(steps)
            S[e, w, :, c0:c0 + C] = v.mean(0), v.std(0), np.percentile(v, 95, axis=0), u @ v / (u @ u), ((steps == 0) & seen).sum(0) / seen.sum(0)


def worst(got, reference):
    both = np.isnan(got) & np.isnan(reference)
    return float(np.where(both, 0, np.abs(got - reference) / (np.abs(reference) + 1)).max())


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("peers"); ap.add_argument("binary"); ap.add_argument("--rounds", type=int, default=5); a = ap.parse_args()
    sys.path.insert(0, a.peers)
    import bench_features as b
    import pyarrow.parquet  # the first use of a library is not the kernel's time
    data_folder = os.path.join(a.peers, "data", "telemetry"); binary = os.path.abspath(a.binary)
    data, n = prepared(b); hosts, clocks = b.meta(); quiet = lambda *_: None

    print("checking both outputs against float64 ...", flush=True)
    six, tensor = b.ref64(hosts, clocks, quiet); reference = np.empty((n, 23, 5, 46)); reference_five(data, reference)
    S = np.empty((n, 23, 5, 46), np.float32); T = np.empty((n, 23, 46, 20), np.float32); run_five(data, S, T)
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([binary, data_folder, "--write", out], check=True, stdout=subprocess.DEVNULL)
        read = lambda name, shape: np.fromfile(os.path.join(out, name + ".bin"), np.float32).reshape(shape)
        errors = {"six statistics": worst(read("six", six.shape), six), "tensor": worst(read("tensor", tensor.shape), tensor),
                  "default five": worst(read("five", reference.shape), reference), "numba twin of the five": worst(S, reference)}
    for name, error in errors.items(): print(f"  {name:24} {error:.1e}")
    assert max(errors.values()) <= 1e-4
    del six, tensor, reference

    times = {k: {"ours": [], "numba": []} for k in ("end_to_end", "kernel", "kernel_default")}
    b.numba_kernel(hosts, clocks, quiet); run_five(data, S, T)  # compiled before the clock runs
    for _ in range(a.rounds):
        ours = json.loads(subprocess.run([binary, data_folder, "--repeat", "3"], check=True, capture_output=True, text=True).stdout)
        for k in times: times[k]["ours"].append(min(ours[k]))
        K = b.Clk(); c = time.process_time(); b.numba_kernel(hosts, clocks, K); c = time.process_time() - c
        times["end_to_end"]["numba"].append(c - K.t["jit"][1]); times["kernel"]["numba"].append(K.t["stats+tensor"][1])
        times["kernel_default"]["numba"].append(run_five(data, S, T))
    print(f"\n{n} episodes, one thread, episodes per CPU second, median (best) of {a.rounds} rounds by turns")
    print(f"{'task':44}{'ours':>16}{'numba':>16}{'ratio':>8}")
    label = {"end_to_end": "parquet to windows, six statistics + tensor", "kernel": "kernel alone, six statistics + tensor", "kernel_default": "kernel alone, default five + tensor"}
    for k, v in times.items():
        median = {w: n / float(np.median(t)) for w, t in v.items()}; best = {w: n / min(t) for w, t in v.items()}
        print(f"{label[k]:44}" + "".join(f"{f'{median[w]:,.0f} ({best[w]:,.0f})':>16}" for w in ("ours", "numba")) + f"{median['ours'] / median['numba']:8.2f}")
    gather = 4 * (sum(x.size for _, _, _, x in data) + n * 23 * (276 + 920)) + 8 * sum(len(t) for _, _, t, _ in data)
    print(f"bytes the kernel must move at least: {gather / n / 1e3:,.0f} kB an episode (samples in, windows out)")


if __name__ == "__main__":
    main()
