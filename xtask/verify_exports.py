"""Exported models beside the programs that they are for: every difference in probability, and an exit code.

Run by `cargo xtask verify-exports`, which makes the Python environment: `verify_exports.py STAKEOUT WORK [MODEL...]`.
Each model of `stakeout models` is trained on a small simulated store with few weights, exported with test vectors (raw
windows with gaps, lost channels and short ones among them), and asked again by onnxruntime, XGBoost and safetensors.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy
import onnx
import onnxruntime
import safetensors
import xgboost

LIMIT = 1e-5
CASES = 64
FOLD = ["--split", "host", "--set", "intervals.resamples=100", "--set", "window.partial=mask"]
SUFFIX = {"onnx": "onnx", "safetensors": "safetensors", "xgboost": "xgboost.json"}
# settings that make a fit quick; a setting that a model does not have is left out
QUICK = {"epochs": 3, "hidden": 12, "rounds": 25, "trees": 25}
# the first variant is every model's, the others are of models that have something of their own there
VARIANTS = {
    "default": (None, "global", {}),
    "deep": (["mlp", "gru", "lstm", "transformer", "cnn", "gbt"], "none",
             {"layers": 2, "bidirectional": "true", "kernels": "[1, 4, 3]", "max_depth": 12}),
    "a host's scaler": (["gbt", "gru"], "host-clean", {}),
    "temperature": (["gbt", "gru"], "global", {"calibration": "temperature"}),
    "dirichlet": (["logistic"], "global", {"calibration": "dirichlet"}),
    "steps as features": (["forest", "extra-trees"], "global", {"input": "tensor"}),
}

# whether each comparison was within its limit
rows = []


class Refused(Exception):
    """The program said no."""


def stakeout(*words):
    done = subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(done.stderr.strip())
    return done.stdout


def line(*cells):
    widths = (12, 18, 12, 36)
    print(" ".join(cell.ljust(width) for cell, width in zip(cells, widths)), cells[-1], flush=True)


def record(model, variant, other, what, difference, limit=LIMIT):
    rows.append(difference <= limit)
    line(model, variant, other, what, f"{difference:.1e}" + ("" if rows[-1] else "  ABOVE THE LIMIT"))


def settings(model, wanted):
    """`--set` words for those of the wanted settings that a model has."""
    sections = json.loads(stakeout("config", "--model", model, "--json"))
    words = ["--set", f"calibration={wanted['calibration']}"] if "calibration" in wanted else []
    for name, section in (("train", sections.get("train", {})), (f"model.{model}", sections.get("model", {}).get(model, {}))):
        words += [word for key, value in wanted.items() if key in section for word in ("--set", f"{name}.{key}={value}")]
    return words


def export(source, form, *more):
    """The exported file and its test vectors; None where the model has no such form."""
    out = WORK / f"{source.stem if source.is_file() else source.name}.{SUFFIX[form]}"
    try:
        stakeout("export", source, "--to", form, "--out", out, "--cases", CASES, "--store", STORE, *more)
    except Refused as refusal:
        if "cannot be written as" in str(refusal) or "for which the file has no place" in str(refusal):
            return None
        raise
    cases = json.loads((WORK / (out.name + ".cases.json")).read_text())
    values = numpy.array([numpy.nan if v is None else v for v in cases["values"]], numpy.float32)
    cases["values"] = values.reshape(cases["shape"])
    cases["probabilities"] = numpy.array(cases["probabilities"])
    return out, cases


def check_onnx(model, variant, out, cases):
    graph = onnx.load(out)
    onnx.checker.check_model(graph, full_check=True)
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(facts["stakeout.classes"]) == cases["classes"]
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    inputs = {"values": cases["values"]}
    if "lengths" in cases:
        inputs["lengths"] = numpy.array(cases["lengths"], numpy.int64)
    (together,) = session.run(["probabilities"], inputs)
    alone = [session.run(["probabilities"], {k: v[i : i + 1] for k, v in inputs.items()})[0] for i in range(len(together))]
    record(model, variant, "onnxruntime", f"batch {len(together)}", abs(together - cases["probabilities"]).max())
    record(model, variant, "onnxruntime", "batch 1", abs(numpy.concatenate(alone) - cases["probabilities"]).max())


def ask_xgboost(booster, values):
    matrix = xgboost.DMatrix(values, feature_names=booster.feature_names)
    scores = booster.predict(matrix)
    return numpy.stack([1 - scores, scores], axis=1) if scores.ndim == 1 else scores


def check_xgboost(model, variant, out, cases):
    booster = xgboost.Booster(model_file=out)
    record(model, variant, "XGBoost", "exported", abs(ask_xgboost(booster, cases["values"]) - cases["probabilities"]).max())
    # there and back: written again by the library, read by the program
    again = WORK / "again.json"
    booster.save_model(again)
    back = WORK / "again.stk"
    stakeout("import", "xgboost", again, back, "--force")
    _, same = export(back, "xgboost", "--force")
    assert numpy.array_equal(same["values"], cases["values"], equal_nan=True)
    record(model, variant, "XGBoost", "exported, saved, imported", abs(same["probabilities"] - cases["probabilities"]).max())


def check_xgboost_import(run, cases):
    """Models that the library trained, read by the program."""
    names = xgboost.Booster(model_file=WORK / f"{run.name}.{SUFFIX['xgboost']}").feature_names
    generator = numpy.random.default_rng(1)
    labels = generator.integers(0, len(cases["classes"]), len(cases["values"]))
    parameters = {
        "softprob": {"num_parallel_tree": 2, "subsample": 0.8},
        "deep": {"max_depth": 0, "max_leaves": 40, "grow_policy": "lossguide", "min_child_weight": 0.01},
    }
    order = generator.permutation(len(names))
    for name, own in parameters.items():
        settings = {"objective": "multi:softprob", "num_class": len(cases["classes"]), "seed": 1} | own
        matrix = xgboost.DMatrix(cases["values"][:, order], labels, feature_names=[names[i] for i in order])
        booster = xgboost.train(settings, matrix, 10)
        path, imported = WORK / f"{name}.json", WORK / f"{name}.stk"
        booster.save_model(path)
        stakeout("import", "xgboost", path, imported, "--schema", run, "--force")
        _, ours = export(imported, "xgboost", "--force")
        theirs = ask_xgboost(booster, ours["values"][:, order])
        record("gbt", "-", "XGBoost", f"trained there ({name}), imported", abs(theirs - ours["probabilities"]).max())


def check_safetensors(model, variant, run, out):
    with safetensors.safe_open(out, framework="numpy") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    assert facts["stakeout.kind"] == model and json.loads(facts["stakeout.classes"])
    # the same bytes stand in the checkpoint
    checkpoint = (run / "checkpoint.stk").read_bytes()
    strange = [name for name, values in tensors.items() if not name.startswith("scaler.") and values.tobytes() not in checkpoint]
    count = sum(values.size for values in tensors.values())
    record(model, variant, "safetensors", f"{len(tensors)} tensors, {count} numbers", float(len(strange)), 0)


def check(model, variant):
    _, scaler, own = VARIANTS[variant]
    run = WORK / f"{model}-{variant}".replace("/", "_").replace(" ", "_").replace("'", "")
    words = settings(model, QUICK | own)
    stakeout("train", "--model", model, "--store", STORE, "--out", run, *FOLD, "--set", f"scaler={scaler}", *words)
    host = ["--host", "host-01"] if scaler == "host-clean" else []
    forms = []
    for form, then in (("onnx", check_onnx), ("xgboost", check_xgboost)):
        if exported := export(run, form, *host):
            forms.append(form)
            then(model, variant, *exported)
            if form == "xgboost" and scaler == "none":
                check_xgboost_import(run, exported[1])
    out = WORK / f"{run.name}.safetensors"
    try:
        stakeout("export", run, "--to", "safetensors", "--out", out, *host)
        forms.append("safetensors")
        check_safetensors(model, variant, run, out)
    except Refused as refusal:
        if "cannot be written as" not in str(refusal):
            raise
    return forms


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    stakeout("simulate", STORE, "--episodes", 48, "--hosts", 4, "--seed", 5)
    known = [entry["kind"] for entry in json.loads(stakeout("models", "--json"))]
    without = []
    line("model", "variant", "asked again", "what", "largest difference")
    for model in sys.argv[3:] or known:
        for variant, (models, _, _) in VARIANTS.items():
            if models is None or model in models:
                if not check(model, variant):
                    without.append(model)
    if without:
        print(f"in no format: {', '.join(without)}")
    breaches = rows.count(False)
    print(f"{len(rows)} comparisons, {breaches} above {LIMIT}")
    return 1 if breaches or not rows else 0


if __name__ == "__main__":
    BINARY = sys.argv[1]
    WORK = pathlib.Path(sys.argv[2])
    STORE = WORK / "store"
    sys.exit(main())
