"""Makes metrics.json, the answers of scikit-learn that brisk-eval must give.

    python -m venv target/goldens && target/goldens/bin/pip install scikit-learn==1.9.1
    target/goldens/bin/python crates/brisk-eval/goldens/make.py
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn import metrics as m

rng = np.random.default_rng(7)


def classification(name, classes, samples, *, coarse=False, absent=()):
    """Random probabilities, half of them leaning to the truth; `coarse` rounds them so that scores tie."""
    allowed = [c for c in range(classes) if c not in absent]
    truth = rng.choice(allowed, samples)
    raw = rng.normal(size=(samples, classes))
    raw[np.arange(samples), truth] += rng.choice([0.0, 2.0], samples)
    proba = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    if coarse:  # eighths are exact in binary, and the rows still sum to 1
        counts = np.array([rng.multinomial(8, p) for p in proba])
        proba = counts / 8.0
    proba = proba.astype(np.float32)
    # The sums must be 1 to scikit-learn's tolerance for ROC AUC; float32 is close enough.
    predicted = proba.argmax(axis=1)
    labels = list(range(classes))

    def scores(average):
        p, r, f, _ = m.precision_recall_fscore_support(
            truth, predicted, labels=labels, average=average, zero_division=0)
        return {"precision": p, "recall": r, "f1": f}

    p, r, f, s = m.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    if classes == 2:
        auc = m.roc_auc_score(truth, proba[:, 1])
    elif not absent:
        auc = m.roc_auc_score(truth, proba, multi_class="ovr", average="macro", labels=labels)
    else:  # scikit-learn refuses; the mean over the classes it can measure
        auc = np.mean([m.roc_auc_score(truth == c, proba[:, c]) for c in allowed])
    return {
        "name": name,
        "classes": classes,
        "probabilities": [round(float(v), 8) for v in proba.ravel()],
        "labels": truth.tolist(),
        "loss": m.log_loss(truth, np.clip(proba.astype(np.float64), 1e-7, 1), labels=labels) if not coarse else None,
        "accuracy": m.accuracy_score(truth, predicted),
        # Ties rank differently in scikit-learn (the higher class first).
        "top_2": m.top_k_accuracy_score(truth, proba, k=2, labels=labels) if classes > 2 and not coarse else None,
        "roc_auc": auc,
        "precision": p.tolist(), "recall": r.tolist(), "f1": f.tolist(), "support": s.tolist(),
        "macro": scores("macro"), "micro": scores("micro"), "weighted": scores("weighted"),
        "confusion": m.confusion_matrix(truth, predicted, labels=labels).tolist(),
    }


def regression(name, truth, predicted):
    truth, predicted = np.float32(truth), np.float32(predicted)
    return {
        "name": name,
        "outputs": 1 if truth.ndim == 1 else truth.shape[1],
        "truth": truth.ravel().tolist(), "predicted": predicted.ravel().tolist(),
        "mse": m.mean_squared_error(truth.astype(float), predicted.astype(float)),
        "rmse": m.root_mean_squared_error(truth.astype(float), predicted.astype(float)),
        "mae": m.mean_absolute_error(truth.astype(float), predicted.astype(float)),
        "r2": m.r2_score(truth.astype(float), predicted.astype(float)),
    }


y = np.round(rng.normal(size=(30, 3)), 3)
far = 1e5 + np.round(rng.normal(size=30), 2)
golden = {
    "sklearn": sklearn.__version__,
    "classification": [
        classification("binary", 2, 40),
        classification("binary with ties", 2, 40, coarse=True),
        classification("five classes", 5, 60),
        classification("four classes with ties", 4, 60, coarse=True),
        classification("a class without samples", 4, 30, absent=(2,)),
    ],
    "regression": [
        regression("one output", y[:, 0], np.round(y[:, 0] + 0.3 * rng.normal(size=30), 3)),
        regression("three outputs", y, np.round(y + 0.3 * rng.normal(size=(30, 3)), 3)),
        regression("a large mean", far, far + 0.5),
        regression("constant, missed", np.ones(4), np.arange(4)),
        regression("constant, met", np.ones(4), np.ones(4)),
    ],
}
path = pathlib.Path(__file__).with_name("metrics.json")
path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
