"""What TensorBoard, MLflow and Weights & Biases hold is what the journal says, read by programs other than our own."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from builders import SweepBuilder, make_spec

from tlsweep.store import Record, Status
from tlsweep.tracking.delivery import Log
from tlsweep.tracking.libraries import LIBRARIES, make_tracker
from tlsweep.tracking.tracker import TrackedSweep

Points = list[tuple[int, float, float]]
"""Epoch, time and value of a figure."""


class Run(NamedTuple):
    """A run, as a tracker's own reader has it."""

    losses: Points
    hyperparameters: dict[str, Any]
    status: str | None
    """None where the tracker has none of its own."""
    best: float | None
    test: float | None


def read_tensorboard(folder: Path) -> dict[str, Run]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    def read(run: Path) -> Run:
        events = EventAccumulator(str(run))
        events.Reload()
        told = events.Tags()

        def points(name: str) -> Points:
            found = events.Scalars(name) if name in told["scalars"] else []
            return [(event.step, event.wall_time, event.value) for event in found]

        values = {}
        if run.name != "sweep":
            started = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
            hparams = parse_session_start_info_plugin_data(started).hparams
            values = {name: value.number_value for name, value in hparams.items()}
        return Run(points("val/loss"), values, None, last(points("best/val/loss")), last(points(test_name(run.name))))

    def test_name(run: str) -> str:
        return "test/accuracy/main" if run == "sweep" else "test/accuracy"

    def last(points: Points) -> float | None:
        assert len(points) < 2
        return points[0][2] if points else None

    return {run.name: read(run) for run in (folder / "tensorboard").iterdir()}


def read_mlflow(folder: Path) -> dict[str, Run]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tlsweep")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert "strategy: random" in parent.data.tags["mlflow.note.content"]

    def read(run: Any) -> Run:
        history = client.get_metric_history(run.info.run_id, "val/loss")
        assert run is parent or run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        return Run(
            [(metric.step, metric.timestamp / 1000, metric.value) for metric in history],
            {name: float(run.data.params[name]) for name in ("lr", "batch_size") if run is not parent},
            run.info.status,
            run.data.metrics.get("best/val/loss"),
            run.data.metrics.get("test/accuracy"),
        )

    found = {run.info.run_name: read(run) for run in runs}
    assert len(found) == len(runs)
    found["sweep"] = found.pop("demo")
    return found


def read_wandb(folder: Path) -> dict[str, Run]:
    import wandb

    wandb.teardown()  # its process writes the files, and is ahead of nobody
    found: dict[str, Run] = {}
    for file in (folder / "wandb").glob("offline-run-*/*.wandb"):
        run, values = "", {}
        losses: Points = []
        summary: dict[str, Any] = {}
        for record in wandb_records(file):
            match record.WhichOneof("record_type"):
                case "run":
                    run = "sweep" if record.run.job_type == "sweep" else record.run.display_name
                    assert (record.run.project, record.run.run_group) == ("tlsweep", "demo")
                    values = plain(record.run.config.update)
                case "history":
                    row = plain(record.history.item)
                    losses.append((row["epoch"], row["_timestamp"], float(row["val/loss"])))
                case "summary":
                    summary |= plain(record.summary.update)
        assert run not in found
        wanted = {name: values[name] for name in ("lr", "batch_size") if name in values}
        found[run] = Run(
            losses, wanted, summary.get("status"), summary.get("best/val/loss"), summary.get("main/test/accuracy")
        )
    return found


def plain(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def wandb_records(file: Path) -> Iterator[Any]:
    """Read a run on disk: seven bytes, then records of LevelDB's log, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record as WandbRecord

    data = file.read_bytes()
    at, whole = 7, b""
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or its last part
            record = WandbRecord()
            record.ParseFromString(whole)
            whole = b""
            yield record


READERS: dict[str, tuple[str, Callable[[Path], dict[str, Run]]]] = {
    "tensorboard": ("tensorboard", read_tensorboard),
    "mlflow": ("mlflow", read_mlflow),
    "wandb": ("wandb", read_wandb),
}


@pytest.fixture
def sweep(tmp_path: Path) -> SweepBuilder:
    """Three trials: one ends, one is stopped and goes on in a later launch, one diverges; a member takes over younger
    weights, so that it has an epoch twice."""
    spec = make_spec(search={"strategy": "random", "trials": 3}, controls=[])
    builder = SweepBuilder(tmp_path, spec)
    for number in range(3):
        builder.create(f"t{number:04d}", number, lr=0.01 * (number + 1))
        builder.event("started", f"t{number:04d}")
    for accuracy in (0.5, 0.75):
        builder.report("t0000", accuracy)
    builder.event("finished", "t0000", reason="trained to the last epoch")
    builder.report("t0001", 0.25)
    builder.report("t0001", 0.5)
    builder.exploit("t0001", "t0000", 1)
    builder.report("t0002", float("nan"))
    return builder


def launch(name: str, builder: SweepBuilder, parts: list[list[Record]], *, killed: bool = False) -> None:
    """Hand records on, as the thread of a tracker does; a launch that is killed closes nothing."""
    folder = builder.folder.path
    assert isinstance(folder, Path)
    tracker = make_tracker(name)(
        TrackedSweep("0123456789ab", "demo", "search:\n  strategy: random\n", folder, builder.records[0]["time"])
    )
    log = Log(builder.spec)
    for part in parts:
        for record in part:
            log.add(record)
        log.hand_on(tracker)
    if not killed:
        tracker.close(log.outcome())


def approx(values: list[Any]) -> Any:
    """To what single precision and milliseconds keep; NaN is NaN."""
    return pytest.approx(values, rel=1e-12, abs=2e-3, nan_ok=True)


def expected(builder: SweepBuilder, trial: str) -> Points:
    return [
        (record["epoch"], record["time"], record["val_loss"])
        for record in builder.records
        if record["type"] == "report" and record["trial"] == trial
    ]


@pytest.mark.filterwarnings("default")  # those of the trackers' own libraries are no fault of ours
@pytest.mark.parametrize("name", READERS)
def test_runs_say_what_the_journal_says_and_go_on_after_a_kill(
    name: str, sweep: SweepBuilder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module, read = READERS[name]
    for needed in (module, LIBRARIES[name].module):
        pytest.importorskip(needed, reason=f"needs {name}: pip install 'tlsweep[{name}]'")
    for setting in ("MLFLOW_TRACKING_URI", "WANDB_DIR"):
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = sweep.folder.path
    assert isinstance(folder, Path)
    launch(name, sweep, [sweep.records[:8], sweep.records[8:]], killed=True)
    past = len(sweep.records)
    sweep.event("resumed", reopened=[])
    sweep.report("t0001", 0.625, epoch=2)
    sweep.event("stopped", "t0001", reason="below the rung")
    sweep.event("failed", "t0002", reason="ValueError: \x1b]0;no\n", error="…")
    sweep.event("evaluated", "t0000", trial="t0000", accuracy=0.875, loss=0.25)
    launch(name, sweep, [sweep.records[: past + 1], sweep.records[past + 1 :]])
    launch(name, sweep, [sweep.records])  # of a complete sweep
    runs = read(folder)
    assert runs.keys() == {"t0000", "t0001", "t0002", "sweep"}
    for trial in ("t0000", "t0001", "t0002"):
        told, said = sorted(runs[trial].losses), sorted(expected(sweep, trial))
        for figure in range(3):
            assert [point[figure] for point in told] == approx([point[figure] for point in said])
        assert runs[trial].hyperparameters["lr"] == pytest.approx(sweep.state.trials[trial].start["lr"])
        assert runs[trial].hyperparameters["batch_size"] == 32
    assert [runs[trial].best for trial in ("t0000", "t0001", "t0002")] == [0.25, 0.375, None]
    statuses = [runs[trial].status for trial in ("t0000", "t0001", "t0002")]
    meant = {"mlflow": ["FINISHED", "KILLED", "FAILED"], "wandb": [Status.FINISHED, Status.STOPPED, Status.FAILED]}
    assert statuses == meant.get(name, [None] * 3)
    assert runs["sweep"].test == 0.875
    assert runs["t0000"].test == (None if name == "wandb" else 0.875)
    assert capfd.readouterr() == ("", "")  # it would stand in the picture of the sweep


def test_event_files_are_written_into_no_folder_of_somebody_else(sweep: SweepBuilder, tmp_path: Path) -> None:
    """Nor is anything removed there, nor made again where the sweep's folder was removed."""
    folder, other = sweep.folder.path, tmp_path / "other"
    assert isinstance(folder, Path)
    other.mkdir()
    (other / "events.out.tfevents.1").write_text("mine")
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "t0000").symlink_to(other)
    with pytest.raises(OSError, match="a link leads out of the sweep's folder"):
        launch("tensorboard", sweep, [sweep.records])
    assert [file.read_text() for file in other.iterdir()] == ["mine"]
    shutil.rmtree(folder)
    with pytest.raises(OSError, match="not there any more"):
        launch("tensorboard", sweep, [sweep.records])
    assert not folder.exists()
