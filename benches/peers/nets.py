#!/usr/bin/env python
"""The nets' training steps and single predictions beside PyTorch's, by turns.

  cargo xtask bench --peers VENV nets [NAMES] [--threads 2] [--rounds 5] [--seconds 2] [--allocators LIBRARY] [--clock wall]
    [--fused-adamw]

NAMES is a list with commas out of mlp, cnn, gru, lstm, transformer, each also with _t100 behind it for windows of a hundred
steps (not mlp). The shapes are the same on both sides: 46 channels, 20 steps, 8 classes, width 64 (the perceptron: 920
inputs); ours is fed the share missing of each channel besides, and normalises in the convolutional net. Every round runs
PyTorch, then ours, each as a process of its own; the table shows the median over the rounds of each side's median, and of
the ratios peer / ours: above 1, ours is faster. For a single prediction the better of one thread and all counts of PyTorch.
LIBRARY is an allocator (a .so) that PyTorch is also run under; the better of its two counts."""
import argparse, os, statistics, subprocess, sys, time

CHANNELS, CLASSES, WIDTH = 46, 8, 64
NAMES = ["mlp", "cnn", "gru", "lstm", "transformer", "cnn_t100", "gru_t100", "lstm_t100", "transformer_t100"]


def net(name):
    """A PyTorch module and the shape of one window."""
    from torch import nn

    kind, _, long = name.partition("_")
    steps = 100 if long else 20

    class Recurrent(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer, self.head = layer(CHANNELS, WIDTH, batch_first=True), nn.Linear(WIDTH, CLASSES)

        def forward(self, x):
            return self.head(self.layer(x)[0][:, -1])

    class Convolutional(nn.Module):
        def __init__(self):
            super().__init__()
            blocks = []
            for inputs in (CHANNELS, WIDTH, WIDTH):
                blocks += [nn.Conv1d(inputs, WIDTH, 5, padding=2), nn.ReLU()]
            self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(WIDTH, CLASSES)

        def forward(self, x):
            return self.head(self.blocks(x).mean(2))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Linear(CHANNELS, WIDTH), nn.Linear(WIDTH, CLASSES)
            layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x):
            return self.head(self.encoder(self.embed(x)).mean(1))

    if kind == "mlp":
        inputs = CHANNELS * 20
        widths = [(inputs, 256), (256, 256)]
        hidden = [part for a, b in widths for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*hidden, nn.Linear(256, CLASSES)), (inputs,)
    if kind == "cnn":
        return Convolutional(), (CHANNELS, steps)
    if kind == "transformer":
        return Transformer(), (steps, CHANNELS)
    return Recurrent({"gru": nn.GRU, "lstm": nn.LSTM}[kind]), (steps, CHANNELS)


def peer(names, seconds, threads, fused):
    """Prints what `net_steps` prints, of PyTorch."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(1)

    def measure(budget, call, repeat=1):
        for _ in range(10):
            call()
        times, begin, busy = [], time.perf_counter(), time.process_time()
        while time.perf_counter() - begin < budget or len(times) < 10:
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            times.append((time.perf_counter() - start) / repeat * 1e3)
        busy = (time.process_time() - busy) / (len(times) * repeat) * 1e3
        times.sort()
        return times[len(times) // 2], times[0], len(times), busy

    def show(name, work, batch, median, least, count, busy):
        print(f"{name},{work},{batch},{median:.5f},{least:.5f},{count},{busy:.5f}", flush=True)

    for name in names:
        for batch in (64, 256):
            model, shape = net(name)
            optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=fused or None)
            loss = torch.nn.CrossEntropyLoss()
            x, y = torch.randn(batch, *shape), torch.arange(batch) % CLASSES

            def step():
                optimiser.zero_grad(set_to_none=True)
                loss(model(x), y).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()

            show(name, "train", batch, *measure(seconds, step))
        model, shape = net(name)
        model.eval()
        x = torch.randn(1, *shape)
        alone = []
        with torch.inference_mode():
            for count in sorted({1, threads}):
                torch.set_num_threads(count)
                alone.append(measure(seconds / 4, lambda: model(x).numpy(), repeat=100))
        torch.set_num_threads(threads)
        show(name, "infer", 1, *min(alone))


def lines(clock, command, environment=None):
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    rows = (line.split(",") for line in text.split())
    column = {"wall": 3, "cpu": 6}[clock]
    return {(row[0], row[1], int(row[2])): float(row[column]) for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="?", default="mlp,cnn,gru,lstm,transformer,gru_t100")
    parser.add_argument("--binary", default=os.path.join(os.path.dirname(__file__), "../../target/release/net_steps"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--allocators", action="append", default=[], metavar="LIBRARY")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: mean processor time of all threads")
    parser.add_argument("--fused-adamw", action="store_true", help="PyTorch's own, which it does not take by itself")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.names.split(",")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"no net {unknown[0]}: {', '.join(NAMES)}")
    if given.peer:
        return peer(names, given.seconds, given.threads, given.fused_adamw)

    ours = [os.path.abspath(given.binary), given.names, str(given.seconds)]
    theirs = [sys.executable, __file__, given.names, "--peer"]
    theirs += ["--seconds", str(given.seconds), "--threads", str(given.threads)] + ["--fused-adamw"] * given.fused_adamw
    environment = os.environ | {"RAYON_NUM_THREADS": str(given.threads)}
    rounds = []
    for _ in range(given.rounds):
        peers = [lines(given.clock, theirs)]
        for library in given.allocators:
            peers.append(lines(given.clock, theirs, os.environ | {"LD_PRELOAD": library}))
        best = {key: min(each[key] for each in peers) for key in peers[0]}
        rounds.append((lines(given.clock, ours, environment), best))
    print(f"{given.threads} thread(s), median of {given.rounds} rounds by turns, milliseconds ({given.clock})")
    print(f"{'net':18}{'work':>7}{'batch':>7}{'PyTorch':>10}{'ours':>10}{'ratio':>8}  (least to most)")
    for key in rounds[0][0]:
        ratios = sorted(theirs[key] / ours[key] for ours, theirs in rounds)
        side = [statistics.median(each[side][key] for each in rounds) for side in (1, 0)]
        spread = f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{key[0]:18}{key[1]:>7}{key[2]:>7}{side[0]:>10.4f}{side[1]:>10.4f}{statistics.median(ratios):>8.2f}  {spread}")


if __name__ == "__main__":
    main()
