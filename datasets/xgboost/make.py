"""Makes the models that the tests of the XGBoost reader read (xgboost-cpu 3.2.0, numpy 2.4.6): run in this folder."""

import json

import numpy
import xgboost

# features of `stakeout_testkit::data::small_schema(classes, 2, steps)`, in an order of their own
NAMES = [f"guest.channel_{channel}.{statistic}" for channel in (1, 0) for statistic in ("std", "last", "mean")]


def gaps(values, share, generator):
    values = values.astype(numpy.float32)
    values[generator.random(values.shape) < share] = numpy.nan
    return values


def main():
    generator = numpy.random.default_rng(0)
    train = gaps(generator.normal(size=(300, 6)), 0.2, generator)
    asked = gaps(numpy.round(generator.normal(size=(8, 6)), 2), 0.3, generator)
    labels = (numpy.nan_to_num(train[:, 0]) > 0).astype(int) + (numpy.nan_to_num(train[:, 1]) > 0)
    settings = {
        # two trees a class and round, base scores by class
        "multi": ({"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "num_parallel_tree": 2,
                   "subsample": 0.7}, labels, 2),
        # one tree a round, a base score that is a probability
        "binary": ({"objective": "binary:logistic", "max_depth": 3, "base_score": 0.3}, labels > 0, 3),
    }
    for name, (parameters, target, rounds) in settings.items():
        matrix = xgboost.DMatrix(train, target, feature_names=NAMES)
        booster = xgboost.train(parameters | {"seed": 1}, matrix, rounds)
        booster.save_model(f"{name}.json")
        scores = booster.predict(xgboost.DMatrix(asked, feature_names=NAMES))
        if scores.ndim == 1:
            scores = numpy.stack([1 - scores, scores], axis=1)
        cases = {
            "names": NAMES,
            "values": [[None if numpy.isnan(v) else round(float(v), 2) for v in row] for row in asked],
            "probabilities": [[float(v) for v in row] for row in scores],
        }
        with open(f"{name}.cases.json", "w") as file:
            json.dump(cases, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
