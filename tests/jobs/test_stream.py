"""What a job tells of its sweep arrives where it was submitted, as if the sweep ran there."""

import json
from pathlib import Path

import pytest
from builders import SweepBuilder

from tlsweep.errors import SweepFailed
from tlsweep.jobs.stream import STANDING_RECORDS, JobStream, Playback
from tlsweep.observer import Several, SweepView
from tlsweep.store import Journal, Record


class Witness:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.view: SweepView | None = None

    def phase(self, text: str) -> None:
        self.told.append(text)

    def progress(self, done: int, total: int) -> None:
        self.told.append(f"{done}/{total}")

    def begin(self, view: SweepView) -> None:
        self.view = view
        self.told.append("begin")

    def warn(self, text: str) -> None:
        self.told.append(f"warning: {text}")

    def record(self, record: Record) -> None:
        self.told.append(record.get("kind", "report"))

    def end(self) -> None:
        self.told.append("end")


def replayed(path: Path) -> tuple[Playback, Witness]:
    replay, witness = Playback("http://head:8265"), Witness()
    for line in path.read_text().splitlines():
        replay.take(line, witness)
    return replay, witness


def view_of(builder: SweepBuilder) -> SweepView:
    return SweepView(builder.spec, builder.folder, builder.state, builder.spending, 2, None, began=100.0)


def test_a_view_elsewhere_sees_what_one_beside_the_driver_sees(tmp_path: Path) -> None:
    builder, here = SweepBuilder(tmp_path / "results"), Witness()
    builder.create("t0000", 0)
    builder.event("started", "t0000")
    builder.report("t0000", 0.5)
    Journal(builder.folder.journal).append(*builder.records)  # an earlier launch
    with JobStream(tmp_path / "stream") as stream:
        both = Several(here, stream)
        both.phase("reading images")
        both.warn("tracking has stopped")
        both.progress(10, 20)
        both.begin(view_of(builder))
        both.record(builder.create("t0001", 1))
        both.record(builder.report("t0000", 0.75))
        both.record(builder.event("finished", "t0000"))
        both.end()
        both.phase("evaluating the winner")
        stream.outcome(lambda width: f"{width} wide")
    replay, there = replayed(tmp_path / "stream")
    assert there.told == here.told
    assert there.view is not None
    assert there.view.state == builder.state
    assert there.view.spending.epochs == builder.spending.epochs
    assert there.view.spec == builder.spec
    assert (there.view.slots, there.view.began, there.view.dashboard) == (2, 100.0, "http://head:8265")
    assert there.view.folder.path == builder.folder.path
    assert [replay.outcome(width) for width in (60, 80, 119, 400)] == ["80 wide", "80 wide", "100 wide", "160 wide"]


def test_a_sweep_that_cannot_go_on_says_why(tmp_path: Path) -> None:
    def failing_sweep() -> None:
        with JobStream(tmp_path / "stream") as stream:
            stream.phase("starting Ray")
            raise SweepFailed("all 3 trials failed")

    with pytest.raises(SweepFailed):
        failing_sweep()
    replay, _ = replayed(tmp_path / "stream")
    assert replay.error == "all 3 trials failed"
    assert replay.outcome(80) is None


def test_the_end_of_a_stream_tells_how_far_the_sweep_is(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path / "results")
    with JobStream(tmp_path / "stream") as stream:
        stream.begin(view_of(builder))
        for number in range(200):
            stream.record(builder.create(f"t{number:04d}", number))
            stream.record(builder.report(f"t{number:04d}", number / 200))
        stream.end()
    lines = [json.loads(line) for line in (tmp_path / "stream").read_text().splitlines()]
    standing = [at for at, line in enumerate(lines) if line["kind"] == "standing"]
    assert max(after - before for before, after in zip(standing, [*standing[1:], len(lines)], strict=True)) <= (
        STANDING_RECORDS + 1
    )
    assert lines[standing[-1]]["epochs"] == 200
    assert lines[standing[-1]]["best"] == {"main": {"trial": "t0199", "val_accuracy": 0.995}}


def test_outside_of_a_job_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with JobStream(None) as stream:
        stream.phase("reading images")
        stream.outcome(lambda width: pytest.fail("drawn for nobody"))
    assert list(tmp_path.iterdir()) == []


def test_hours_that_are_replayed_in_a_second_count_as_hours() -> None:
    playback = Playback("http://head:8265")
    for at in (1000.0, 8200.0):
        playback.take(json.dumps({"at": at, "kind": "phase", "text": "reading images"}), Witness())
    assert 8200 <= playback.clock() < 8260
