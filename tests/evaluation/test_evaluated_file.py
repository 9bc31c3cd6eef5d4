"""The geometry comes from the file, 2021's log, or the command line, never from a guess."""

import dataclasses

import pytest

from tests.evaluation.runs import make_file, make_run, strip_meta
from vmf_embeddings.embeddings import save_embeddings
from vmf_embeddings.evaluation.loading import curvature_from_log, load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.geometry import (
    Cosine,
    ExpectedLikelihood,
    Poincare,
    PoincareReference,
    VonMisesFisher,
)


def load(folder, **options):
    return load_evaluated_file(
        folder / "toy_test.npz", folder, EvaluationOptions(paths=(folder,), **options)
    )


def test_meta_says_the_geometry(tmp_path):
    run = make_run(tmp_path, {"name": "poincare", "c": 0.25})
    assert load(run).geometry == Poincare(0.25)
    assert load(run, geometry="poincare", curvature=0.25).geometry == Poincare(0.25)
    assert load(run).title == "a_method on toy (test), 3-D"


def test_the_distance_of_2021_may_be_asked_of_any_hyperbolic_file(tmp_path):
    run = make_run(tmp_path, {"name": "poincare", "c": 0.25})
    assert load(run, geometry="poincare-reference").geometry == PoincareReference(0.25)
    strip_meta(run)
    typed = load(run, geometry="poincare-reference", curvature=0.5)
    assert typed.geometry == PoincareReference(0.5)
    cosine = make_run(tmp_path / "cosine", {"name": "cosine"})
    with pytest.raises(ValueError, match="leave the geometry out"):
        load(cosine, geometry="poincare-reference")


def test_distributions_may_be_compared_by_their_expected_likelihood(tmp_path):
    run = make_run(tmp_path, {"name": "vmf"})
    assert load(run, geometry="expected_likelihood").geometry == ExpectedLikelihood()
    other = make_run(tmp_path / "other", {"name": "expected_likelihood"})
    assert load(other).geometry == ExpectedLikelihood()
    assert load(other, geometry="vmf").geometry == VonMisesFisher()


@pytest.mark.parametrize(
    ("geometry", "options", "message"),
    [
        ({"name": "cosine"}, {"geometry": "euclidean"}, "leave the geometry out"),
        ({"name": "cosine"}, {"script_of_2021": "vmf", "geometry": "vmf"}, "compute_deterministic"),
        ({"name": "vmf"}, {"script_of_2021": "deterministic"}, "compute_vmf"),
        ({"name": "vmf"}, {"script_of_2021": "deterministic", "geometry": "cosine"}, "compute_vmf"),
        ({"name": "poincare", "c": 0.1}, {"curvature": 0.2}, "leave --curvature out"),
    ],
)
def test_what_contradicts_the_file_is_refused(tmp_path, geometry, options, message):
    run = make_run(tmp_path, geometry)
    with pytest.raises(ValueError, match=message):
        load(run, **options)


def test_files_of_2021_need_the_geometry_and_say_how_to_give_it(tmp_path):
    folder = tmp_path / "my runs (1)"
    folder.mkdir()
    run = strip_meta(make_run(folder, {"name": "cosine"}))
    names = r"\(cosine, euclidean, poincare, poincare-reference, vmf, expected_likelihood\)"
    with pytest.raises(ValueError, match=rf"--geometry NAME {names}"):
        load(run)
    with pytest.raises(ValueError, match=r"metrics '.*my runs \(1\).*' NORM \(l2, hyperbolic or"):
        load(run, script_of_2021="deterministic")
    assert load(run, geometry="cosine").geometry == Cosine()
    with pytest.raises(ValueError, match="no draws.*compute_deterministic"):
        load(run, geometry="vmf", script_of_2021="vmf")
    assert load(run, geometry="cosine").title == "cosine embeddings on toy (test), 3-D"
    drawn = strip_meta(make_run(tmp_path / "vmf", {"name": "vmf"}, n_draws=2))
    assert load(drawn, geometry="vmf", script_of_2021="vmf").geometry == VonMisesFisher()
    with pytest.raises(ValueError, match="several draws.*compute_vmf"):
        load(drawn, geometry="cosine")


@pytest.mark.parametrize(
    "line",
    [
        "      c: 1e-05",
        "[2021-03-01][__main__][INFO] - {'method': {'params': {'c': 1e-05}}, 'seed': 1}",
    ],
)
def test_the_curvature_of_2021_stands_in_the_log(tmp_path, line):
    run = strip_meta(make_run(tmp_path, {"name": "cosine"}))
    (run / "main.train.log").write_text(f"epoc: 3\nabc: 7\n{line}\nBest epoch\n")
    evaluated = load(run, geometry="poincare")
    assert evaluated.geometry == Poincare(1e-5)
    assert evaluated.notes == ("Found c = 1e-05",)
    assert load(run, geometry="poincare", curvature=0.5).geometry == Poincare(0.5)


def test_no_curvature_anywhere_is_an_error_that_says_what_to_add(tmp_path):
    (tmp_path / "main.train.log").write_text("nothing here\n")
    with pytest.raises(ValueError, match="--curvature"):
        curvature_from_log(tmp_path)
    with pytest.raises(ValueError, match="--curvature"):
        curvature_from_log(tmp_path / "elsewhere")


def test_classes_without_names_are_called_by_the_numbers_of_the_data_set(tmp_path):
    file = make_file({"name": "cosine"}, open_set=True, class_names=None)
    paths = tmp_path / "toy_test.npz", tmp_path / "toy_valid.npz"
    save_embeddings(paths[0], file)
    save_embeddings(paths[1], dataclasses.replace(file, original_ids=file.ids + 40))
    options = EvaluationOptions(paths=paths)
    found = [load_evaluated_file(path, path, options).class_names for path in paths]
    assert found == [None, {0: "40", 1: "41", 2: "42"}]
