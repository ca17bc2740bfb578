"""Results and trials say in a line what they are, and in a notebook in a table, whatever is in them."""

from pathlib import Path

from builders import make_hostile_sweep, make_sweep

from tlsweep.store import Results, SweepFolder


def test_results_and_their_winner_are_a_line_and_a_table(tmp_path: Path) -> None:
    results = make_sweep(tmp_path)
    said = "8 trials (5 stopped, 2 finished, 1 failed)", "t0001, val_accuracy 0.95 at epoch 4"
    assert repr(results) == f"Results('{tmp_path / 'demo'}': {said[0]}; best {said[1]})"
    assert all(f"<td>{text}</td>" in results._repr_html_() for text in (*said, str(tmp_path / "demo")))
    winner = results.winner()
    assert repr(winner) == (
        "TrialState(t0001: status finished, epoch 4, lr 0.01, batch_size 64, best epoch 4, val_loss 0.05, "
        "val_accuracy 0.95, reason trained to the last epoch)"
    )
    assert winner is not None
    assert "<caption>trial t0001</caption>" in winner._repr_html_()


def test_what_is_missing_or_damaged_is_said_and_not_raised(tmp_path: Path) -> None:
    assert "spec.yaml' is missing" in repr(Results(SweepFolder(tmp_path / "nothing")))
    results = make_sweep(tmp_path)
    (tmp_path / "demo" / "trials.parquet").write_text("x")
    assert "trials.parquet' is damaged" in repr(results)
    assert "trials.parquet&#x27; is damaged" in results._repr_html_()


def test_markup_of_others_is_text(tmp_path: Path) -> None:
    results = make_hostile_sweep(tmp_path / "<b>")
    page = results.state().trials["t0000"]._repr_html_() + results._repr_html_()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert page.isprintable()
