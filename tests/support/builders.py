"""Synthetic sweeps for tests: the records that a real one would write, without training anything."""

import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from tlsweep.report.repair import MODEL, repair
from tlsweep.spec import Hyperparameters, SweepSpec, dump_spec, load_spec
from tlsweep.store import Journal, Record, Results, SweepFolder, SweepState, read_journal
from tlsweep.store.files import write_json, write_text
from tlsweep.store.spending import Spending
from tlsweep.store.tables import TableWriter, rows_to_table, write_table

SPEC: Mapping[str, Any] = {
    "name": "demo",
    "data": {"source": "digits"},
    "model": {"name": "cnn", "weights": {"data": {"source": "digits", "domain": "source"}}},
    "train": {"lr": {"loguniform": [1e-4, 0.3]}, "batch_size": {"powers_of_two": [16, 128]}, "epochs": 4},
    "search": {"strategy": "pbt", "population": 4},
    "controls": ["scratch"],
}

ENVIRONMENT: Mapping[str, Any] = {
    "versions": {"torch": "2.15.0"},
    "hardware": {"processor": "some CPU", "cpus": 2.0, "gpus": 0.0},
    "data": {"fingerprint": "f" * 64, "classes": list("0123456789"), "images": {"train": 537, "val": 180, "test": 180}},
    "weights": {"origin": "source task 3f2a", "sha256": "a" * 64},
}


MARKUP = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\x1b]0;x\x07'&lt;"
)


def forge_journal(journal: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a journal again with each record changed, its checks made right: what somebody who knows the format can."""
    forged, last = [], ""
    for line in journal.read_bytes().splitlines():
        found = json.loads(line[9:])
        records = found if isinstance(found, list) else [found]
        for record in records:
            change(record)
        if last and "follows" in records[0]:
            records[0]["follows"] = last
        body = json.dumps(records).encode()
        last = f"{zlib.crc32(body):08x}"
        forged.append(last.encode() + b" " + body + b"\n")
    journal.write_bytes(b"".join(forged))


def make_spec(**sections: Any) -> SweepSpec:
    """The spec of the synthetic sweep, with other sections where they are given."""
    return load_spec({**SPEC, **sections})


class SweepBuilder:
    """Makes records one after another; each method returns the record it made, applied to `state`."""

    def __init__(self, results: Path, spec: SweepSpec | None = None, name: str = "demo") -> None:
        self.spec = spec or make_spec()
        self.folder = SweepFolder(results / name)
        self.folder.path.mkdir(parents=True)
        write_text(self.folder.spec, dump_spec(self.spec))
        self.state = SweepState(self.spec.search.metric, self.spec.search.sign)
        self.records: list[Record] = []
        self.spending = Spending(self.spec.budget, self.spec.resources)
        self._clock: Iterator[float] = itertools.count(0.0, 0.5)

    def create(self, trial: str, number: int, **values: Any) -> Record:
        """A configuration: the spec's constants, lr 0.01 and batch size 32 unless given."""
        arm = trial.partition("-")[2] or "main"
        complete = Hyperparameters(**{"lr": 0.01, "batch_size": 32} | values).model_dump()
        return self.event("created", trial, arm=arm, number=number, hyperparameters=complete)

    def report(
        self,
        trial: str,
        accuracy: float,
        *,
        epoch: int | None = None,
        loss: float | None = None,
        f1: float | None = None,
        **figures: float,
    ) -> Record:
        """The next epoch of a trial."""
        one = self.state.trials[trial]
        epoch = epoch or one.epoch + 1
        loss = 1 - accuracy if loss is None else loss
        metrics = dict.fromkeys(("val_precision", "val_recall", "val_f1", "train_accuracy"), accuracy)
        metrics["val_f1"] = accuracy if f1 is None else f1
        times = {"train_seconds": 1.0, "eval_seconds": 0.5, "wait_seconds": 0.0, "samples_per_second": 100.0}
        return self._write(
            {
                "type": "report", "stage": "pbt", "arm": one.arm, "trial": trial, "generation": one.generation,
                "parent_trial": one.parent_trial, "epoch": epoch, "samples": epoch * 100, "step": epoch * 4,
                **one.hyperparameters, "scheduled_lr": one.hyperparameters["lr"], "micro_batch": 32, **metrics,
                "train_loss": loss, "val_loss": loss, "val_accuracy": accuracy, **figures, **times, "device_memory": 0,
                "device": "cpu", "node": "here",
                **self._checkpoint(trial, one.generation, epoch),
            }
        )  # fmt: skip

    def exploit(self, trial: str, donor: str, epoch: int, **mutated: Any) -> Record:
        """`trial` takes the weights that `donor` had after `epoch`, and its configuration with `mutated` values."""
        one, source = self.state.trials[trial], self.state.trials[donor]
        return self.event(
            "exploited",
            trial,
            generation=one.generation + 1,
            donor=donor,
            donor_generation=source.generation,
            donor_epoch=epoch,
            donor_score=source.score(self.state.metric, self.state.sign),
            **self._checkpoint(donor, source.generation, epoch),
            hyperparameters=dict(source.hyperparameters) | mutated,
        )

    def event(
        self,
        kind: str,
        trial: str | None = None,
        /,
        *,
        arm: str | None = None,
        generation: int | None = None,
        **details: Any,
    ) -> Record:
        """Any other event."""
        one = self.state.trials.get(trial or "")
        return self._write(
            {
                "type": "event", "stage": "pbt", "arm": arm or (one.arm if one else "main"), "trial": trial,
                "generation": generation if generation is not None else (one.generation if one else 0),
                "kind": kind, "epoch": one.epoch if one else 0, "details": details,
            }
        )  # fmt: skip

    def write_journal(self) -> Results:
        """Write all records so far to the journal, at once: each writing waits for the disk."""
        self.folder.journal.unlink(missing_ok=True)
        journal = Journal(self.folder.journal)
        journal.append(*self.records)
        journal.close()
        return Results(self.folder)

    def finish(self) -> Results:
        """Write the journal and the Parquet tables."""
        results = self.write_journal()
        writer = TableWriter(self.folder.path, self.folder.name)
        writer.add(self.records)
        writer.write(self.state)
        return results

    def _checkpoint(self, trial: str, generation: int, epoch: int) -> dict[str, str]:
        """The path of a checkpoint, and its digest; there is no file."""
        digest = sha256(f"{trial} {generation} {epoch}".encode()).hexdigest()
        return {"checkpoint": self.folder.checkpoint(trial, generation, epoch, digest), "digest": digest}

    def _write(self, record: Record) -> Record:
        elapsed = next(self._clock)
        record |= {"time": 1_700_000_000.0 + elapsed, "elapsed": elapsed}
        self.state.apply(record)
        if record["type"] == "report":
            self.spending.add(record)
        self.records.append(record)
        return record


def make_sweep(results: Path, name: str = "demo") -> Results:
    """A finished sweep: PBT with two arms, an exploit of an exploit, a failure, a diverged member, test results.

    The winner t0001 reached 0.95 at epoch 4: t0000 to epoch 1, t0002 to epoch 2, then itself.
    """
    builder = SweepBuilder(results, make_spec(name=name), name)
    for number, (lr, batch_size) in enumerate([(0.01, 32), (0.1, 64), (0.001, 16), (0.3, 128)]):
        builder.create(f"t{number:04d}", number, lr=lr, batch_size=batch_size)
        builder.create(f"t{number:04d}-scratch", number, lr=lr, batch_size=batch_size)
    for trial in list(builder.state.trials):
        builder.event("started", trial)
    for trial, main, scratch in (("t0000", 0.7, 0.4), ("t0001", 0.5, 0.45), ("t0002", 0.3, 0.2)):
        builder.report(trial, main)
        builder.report(f"{trial}-scratch", scratch)
    builder.report("t0003", float("nan"), loss=float("nan"))
    builder.event("stopped", "t0003", reason="diverged: the loss is not a finite number")
    error = "ValueError: [boom]"
    builder.event("failed", "t0003-scratch", reason=error, error=f"Traceback:\n  line\n{error}\n")
    builder.exploit("t0002", "t0000", 1, lr=0.0125)
    for accuracy in (0.8, 0.82):
        builder.report("t0002", accuracy)
    builder.report("t0001", 0.55)
    builder.exploit("t0001", "t0002", 2, lr=0.01, batch_size=64)
    for accuracy in (0.9, 0.95):
        builder.report("t0001", accuracy)
    for accuracy in (0.6, 0.7, 0.75):
        builder.report("t0001-scratch", accuracy)
    for one in list(builder.state.trials.values()):
        if not one.status.final:
            complete = one.epoch == builder.spec.train.epochs
            kind, reason = ("finished", "trained to the last epoch") if complete else ("stopped", "the stage ended")
            builder.event(kind, one.trial, reason=reason)
    numbers = {"loss": 0.2, "precision": 0.9, "recall": 0.9, "f1": 0.9}
    builder.event("evaluated", "t0001", arm="main", trial="t0001", accuracy=0.93, **numbers)
    builder.event("evaluated", "t0001-scratch", arm="scratch", trial="t0001-scratch", accuracy=0.71, **numbers)
    write_json(builder.folder.environment, ENVIRONMENT)
    return builder.finish()


def make_ended_sweep(results: Path) -> Path:
    """As `make_sweep`, with all that a launch leaves: its first record, recipe and `best/`; the folder."""
    folder = make_sweep(results).folder
    assert isinstance(folder.path, Path)
    details = {
        "spec": Results(folder).spec.model_dump(mode="json"), "data": ENVIRONMENT["data"]["fingerprint"],
        "weights": ENVIRONMENT["weights"]["sha256"], "environment": ENVIRONMENT,
    }  # fmt: skip
    launched = {
        "type": "event", "stage": "pbt", "arm": None, "trial": None, "generation": 0, "kind": "launched", "epoch": 0,
        "details": details, "time": 1_699_999_999.0, "elapsed": 0.0,
    }  # fmt: skip
    records = [launched, *read_journal(folder.journal)]
    (folder.path / "journal.jsonl").unlink()
    journal = Journal(folder.path / "journal.jsonl")
    for record in records:
        journal.append(record)
    journal.close()
    (folder.path / "best").mkdir()
    for name in MODEL:
        content = b"{}" if name.endswith("json") else safetensors.numpy.save({"w": np.zeros(40)})
        (folder.path / "best" / name).write_bytes(content)
    images = {"sweep": "demo", "fold": 0, "repeat": 0, "label": "1", "probability": 0.5}
    rows = [
        {**images, "arm": arm, "trial": trial, "image": at, "predicted": str(at % 2)}
        for arm, trial in (("main", "t0001"), ("scratch", "t0001-scratch"))
        for at in range(20)
    ]
    write_table(folder.path, "predictions", rows_to_table("predictions", rows))
    hard = [{**images, "trial": "t0001", "split": "train", "image": 30, "predicted": "0", "label_probability": 0.1}]
    write_table(folder.path, "hard_images", rows_to_table("hard_images", hard))
    repair(folder)
    return folder.path


def make_hostile_sweep(results: Path) -> Results:
    """A sweep whose error and classes want to be markup."""
    builder = SweepBuilder(results, make_spec(controls=[]))
    for number in range(3):
        builder.create(f"t{number:04d}", number, lr=0.01 * (number + 1))
        builder.report(f"t{number:04d}", 0.5 + number / 10)
    builder.event("failed", "t0000", reason=MARKUP, error=MARKUP)
    figures = {name: [0.5, 0.5] for name in ("precision", "recall", "f1")}
    builder.event(
        "evaluated", "t0002", arm="main", trial="t0002", accuracy=0.5, loss=1.0, precision=0.5, recall=0.5, f1=0.5,
        per_class={**figures, "support": [2, 2]}, confusion=[[1, 1], [1, 1]],
    )  # fmt: skip
    environment = {"data": {"classes": [MARKUP, "plain"], "images": {"test": 4}, "fingerprint": "f" * 64}}
    write_json(builder.folder.environment, environment)
    return builder.finish()
