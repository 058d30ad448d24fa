#!/usr/bin/env python3
"""How fast `stakeout predict --stdin` starts, and what a stream costs it.

  python3 benches/live.py [--binary target/release/stakeout] [--rounds 40] [--times 60] RUN EPISODE

EPISODE is a folder of an episode on disk: its guest and netflow rows, in the order of their times, are one stream, and so
often as --times says one after another a long one. Prints milliseconds from the start of the process to the end of the
first prediction line (least and median of the rounds), then of the long stream the process's own time a window, whatever
it was spent on (start, parsing, cutting, the model, printing), and its peak memory."""
import argparse, json, os, re, subprocess, tempfile, time

TIME = re.compile(r'("t_wall_ns": ?)(\d+)')


def rows(episode):
    lines = [line for name in ("telemetry-guest.jsonl", "netflow.jsonl") for line in open(os.path.join(episode, name))]
    return sorted((json.loads(line)["t_wall_ns"], line) for line in lines)


def run(command, path):
    """Seconds to the first line, processor seconds, peak kilobytes and lines of a run that reads a file."""
    with open(path) as stream:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        first = child.stdout.readline()
        seconds = time.perf_counter() - start
        lines = 1 + child.stdout.read().count(b"\n")
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0 and b"probabilities" in first, f"{command} failed"
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(os.path.dirname(__file__), "../target/release/stakeout"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--times", type=int, default=60)
    parser.add_argument("run")
    parser.add_argument("episode")
    given = parser.parse_args()
    stream = rows(given.episode)
    stride = 5_000_000_000
    period = ((stream[-1][0] - stream[0][0]) // stride + 1) * stride
    command = [given.binary, "predict", "--quiet", given.run, "--stdin"]
    with tempfile.TemporaryDirectory() as folder:
        short, long = (os.path.join(folder, name) for name in ("short.jsonl", "long.jsonl"))
        with open(short, "w") as file:
            file.writelines(line for _, line in stream)
        with open(long, "w") as file:
            for turn in range(given.times):
                moved = lambda found: f"{found[1]}{int(found[2]) + turn * period}"
                file.writelines(TIME.sub(moved, line, count=1) for _, line in stream)
        starts = sorted(run(command, short)[0] * 1e3 for _ in range(given.rounds))
        print(f"first prediction: least {starts[0]:.1f} ms, median {starts[len(starts) // 2]:.1f} ms")
        costs = sorted((busy * 1e6 / lines, peak, lines) for _, busy, peak, lines in (run(command, long) for _ in range(5)))
        busy, peak, lines = costs[len(costs) // 2]
        count = given.times * len(stream)
        print(f"{count} rows, {lines} windows: {busy:.0f} µs a window, peak memory {peak / 1024:.1f} MB")


if __name__ == "__main__":
    main()
