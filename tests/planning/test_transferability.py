"""The scores against slow references: explicit matrices, and scikit-learn used plainly."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from tlsweep.models.probe import STRENGTHS, _iterations, _some, fitted, linear_probe
from tlsweep.planning.transferability import h_score, logme, nearest_neighbours, score

# Images, width of the features, classes, how far the classes lie apart.
SHAPES = [(60, 8, 3, 1.0), (60, 8, 3, 0.0), (30, 50, 3, 0.3), (40, 40, 4, 0.5), (50, 1, 2, 1.0), (40, 60, 2, 5.0)]


def drawn(count, width, classes, apart, seed=0):
    """Features whose scales differ by orders of magnitude, as those of networks do; labels in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    features = rng.normal(size=(count, width)) * np.exp(2 * rng.normal(size=width))
    return features + apart * rng.normal(size=(classes, width))[labels], labels


def log_evidence(features, target, log_ratio, log_beta):
    """y ~ N(0, (I + F Fᵀ β/α) / β), as a density of N dimensions with its matrix written out."""
    covariance = (np.eye(len(target)) + features @ features.T / np.exp(log_ratio)) / np.exp(log_beta)
    _, log_determinant = np.linalg.slogdet(covariance)
    return -0.5 * (len(target) * np.log(2 * np.pi) + log_determinant + target @ np.linalg.solve(covariance, target))


def maximum_evidence(features, target):
    """By search over α/β and β: a coarse grid, then steepest ascent from its best three points."""
    grid = [(ratio, beta) for ratio in range(-20, 21, 2) for beta in range(-2, 21, 2)]
    grid.sort(key=lambda at: log_evidence(features, target, *at))
    bounds = [(-22, 22), (-5, 25)]
    found = [
        minimize(lambda at: -log_evidence(features, target, *at), start, method="L-BFGS-B", bounds=bounds)
        for start in grid[-3:]
    ]
    return max(-one.fun for one in found)


@pytest.mark.parametrize("shape", SHAPES)
def test_logme_is_the_largest_evidence_that_a_search_finds(shape):
    features, labels = drawn(*shape)
    largest = [maximum_evidence(features, (labels == label).astype(float)) for label in range(shape[2])]
    assert logme(features, labels) == pytest.approx(np.mean(largest) / shape[0], abs=1e-5)


def test_logme_does_not_stop_at_a_lower_maximum():
    """The same iteration from α = β, as the authors' code begins, ends 0.7 nats lower here."""
    features, labels = drawn(*SHAPES[0])
    assert logme(features, labels) > 0.1
    for factor in (1e-8, 1e6):
        assert logme(factor * features, labels) == pytest.approx(logme(features, labels), abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_h_score_is_the_trace_of_explicit_covariances(shape):
    features, labels = drawn(*shape)
    shrunk = LedoitWolf().fit(features)
    means = np.stack([features[labels == label].mean(0) for label in labels])
    between = np.atleast_2d(np.cov(means, rowvar=False, bias=True))
    expected = np.trace(np.linalg.inv(shrunk.covariance_) @ between) * (1 - shrunk.shrinkage_)
    assert h_score(features, labels) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert 0 <= h_score(features, labels) < shape[2] - 1


def test_nearest_neighbours_is_a_vote_by_cosine():
    (train, val), (labels, val_labels) = (np.split(one, [60]) for one in drawn(110, 8, 3, 3.0))
    right = 0
    for image, label in zip(val, val_labels, strict=True):
        cosines = train @ image / np.linalg.norm(train, axis=1) / np.linalg.norm(image)
        votes = np.bincount(labels[np.argsort(cosines)[-5:]], minlength=3)
        right += votes.argmax() == label
    assert nearest_neighbours(train, labels, val, val_labels) == right / 50
    assert 0.4 < right / 50 < 1


def test_linear_probe_is_logistic_regression_with_the_penalty_that_cross_validation_chooses():
    (train, val), (labels, val_labels) = (np.split(one, [60]) for one in drawn(260, 30, 3, 0.07))
    losses = []
    for strength in STRENGTHS:
        loss = 0.0
        for inner, outer in StratifiedKFold(5).split(train, labels):
            scaler = StandardScaler().fit(train[inner])
            probe = LogisticRegression(C=strength, max_iter=1000).fit(scaler.transform(train[inner]), labels[inner])
            chances = probe.predict_proba(scaler.transform(train[outer]))
            loss -= np.log(chances[np.arange(len(outer)), labels[outer]]).mean() / 5
        losses.append(loss)
    best = STRENGTHS[int(np.argmin(losses))]
    assert best not in (STRENGTHS[0], STRENGTHS[-1])
    scaler = StandardScaler().fit(train)
    plain = LogisticRegression(C=best, max_iter=1000).fit(scaler.transform(train), labels)
    accuracy = plain.score(scaler.transform(val), val_labels)
    assert linear_probe(train, labels, val, val_labels) == (accuracy, np.sqrt(accuracy * (1 - accuracy) / 200))


def test_a_rare_class_does_not_keep_strengths_from_being_compared():
    features, labels = drawn(260, 30, 3, 0.07)
    alone = fitted(features, labels)[-1].C
    assert alone not in (STRENGTHS[-1], 1.0)
    rare = np.append(labels, 3), np.vstack([features, features[:1]])
    assert alone == fitted(rare[1], rare[0])[-1].C
    # What is compared on are some of many images, and of each class as many as there are folds.
    many = np.repeat([0, 1, 2, 3, 4], [6000, 3995, 3, 1, 1])
    assert np.bincount(many[_some(many)]).tolist() == [1200, 799, 3]
    assert not len(_some(np.repeat([0, 1], [9, 1])))


def test_a_regression_that_would_take_hours_ends_earlier():
    assert _iterations(5000 * 1280 * 10) == 1000
    assert _iterations(50_000 * 2048 * 100) == 97
    assert _iterations(50_000 * 2048 * 1000) == 30


def test_one_image_of_each_class_is_enough():
    features, labels = drawn(3, 5, 3, 1.0)
    found = score(features, labels, features, labels)
    assert (found.probe, found.probe_error) == (1.0, 0.0)
    assert np.isfinite([found.logme, found.h_score, found.knn]).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_never_vary_say_nothing(value):
    features, labels = np.full((12, 4), value, np.float32), np.arange(12) % 3
    found = score(features, labels, features, labels)
    assert (found.h_score, found.probe) == (pytest.approx(0), pytest.approx(1 / 3))
    assert np.isfinite(found.logme)


def test_features_that_are_not_finite_have_no_scores():
    features, labels = drawn(12, 4, 3, 1.0)
    broken = features.copy()
    broken[3, 1] = np.inf
    found = score(features, labels, broken, labels)
    assert np.isnan([found.logme, found.h_score, found.knn, found.probe, found.probe_error]).all()
