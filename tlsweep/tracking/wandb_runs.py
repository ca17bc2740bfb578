"""Weights & Biases: a group for the sweep, and in it a run for each trial, and one of the sweep with the test figures.

Online the runs stay open while their trials are trained. Offline nobody can look before `wandb sync`, so each is
written in one go when its trial has ended: a thousand trials that wait are no thousand open runs.
"""

import json
import netrc
import os
import re
import shutil
from collections import OrderedDict, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import wandb

from tlsweep.errors import SpecError
from tlsweep.store import Status
from tlsweep.tracking.tracker import Outcome, Row, TrackedSweep, TrackedTrial, Update, own_file

FOLDER = "wandb"
PROJECT = "tlsweep"
"""The project, unless WANDB_PROJECT says another one."""
MARK = "tlsweep.json"
"""Beside an offline run that is whole: how many reports it has."""
_OPEN = 32
"""Runs that are open at once."""


def mode() -> str:
    """`WANDB_MODE`; else `online` where this user has logged in, and `offline` where wandb would ask for a key.

    Raises:
        SpecError: it would ask for a key all the same, as WANDB_MODE is `online`.
    """
    said, known = os.environ.get("WANDB_MODE"), _has_key()
    if said == "online" and not known:
        raise SpecError(
            "track: wandb is to be online (WANDB_MODE), and nobody has logged in; run wandb login, or set "
            "WANDB_MODE=offline"
        )
    return said or ("online" if known else "offline")


def _has_key() -> bool:
    """Whether wandb finds a key without asking."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False


class WandbTracker:
    """Runs whose ids follow from sweep and trial, so that a later launch goes on with them."""

    def __init__(self, sweep: TrackedSweep) -> None:
        self._sweep, self._mode = sweep, mode()
        self._runs: OrderedDict[str, Any] = OrderedDict()
        self._trials: dict[str, TrackedTrial] = {}
        self._rows: defaultdict[str, list[tuple[int, Row]]] = defaultdict(list)
        self._whole: set[str] = set()
        """Trials that have ended, and whose runs have all of it."""

    def begin(self, trial: TrackedTrial) -> int:
        self._trials[trial.name] = trial
        if self._mode != "offline":
            return 0  # what there is already is known once the run is open
        written = list((self._folder / "wandb").glob(f"offline-run-*-{self._id(trial.name)}"))
        if trial.ended and len(written) == 1 and _reports(written[0]) == trial.reports:
            self._whole.add(trial.name)
            return trial.reports
        for folder in written:
            shutil.rmtree(folder)
        return 0

    @property
    def _folder(self) -> Path:
        """Where wandb makes its folder `wandb/`: the sweep's, unless WANDB_DIR says another one."""
        if said := os.environ.get("WANDB_DIR"):
            return Path(said)
        return own_file(self._sweep, FOLDER).parent

    def update(self, trial: TrackedTrial, update: Update) -> None:
        self._rows[trial.name] += enumerate(update.rows, update.first)
        if update.status.final and trial.name not in self._whole:
            self._log(trial)
            self._finish(trial, update)
            self._whole.add(trial.name)
        elif self._rows[trial.name] and self._mode != "offline":
            self._log(trial)

    def close(self, outcome: Outcome) -> None:
        for name in [name for name, rows in self._rows.items() if rows]:  # of trials that the sweep left behind
            self._log(self._trials[name])
        for name in list(self._runs):
            self._finish(self._trials[name], None)
        self._write_sweep(outcome)

    def _write_sweep(self, outcome: Outcome) -> None:
        """The run of the sweep itself, whole at each end of a launch."""
        for folder in (self._folder / "wandb").glob(f"offline-run-*-{self._id('sweep')}"):
            shutil.rmtree(folder)
        run = self._init("sweep", self._sweep.name, "sweep", {"spec": self._sweep.spec})
        for arm, row in outcome.test.items():
            run.summary.update({f"{arm}/{name}": value for name, value in row.figures.items()})
        run.finish(exit_code=int(outcome.status is Status.FAILED))

    def _log(self, trial: TrackedTrial) -> None:
        """Send the reports that wait; of a run that goes on online, those that it lacks."""
        run = self._opened(trial)
        for number, row in self._rows.pop(trial.name, ()):
            # wandb's own steps only grow, where a member of a population may go back to a younger one's epoch.
            if number >= run.step:
                run.log({**row.figures, "epoch": row.epoch, "_timestamp": row.time}, step=number)

    def _finish(self, trial: TrackedTrial, update: Update | None) -> None:
        run = self._runs.pop(trial.name)
        if update is not None:
            best = update.best.figures if update.best else {}
            run.summary.update({**best, "status": str(update.status), "reason": update.reason})
        folder = Path(run.dir).parent
        run.finish(exit_code=int(update is not None and update.status is Status.FAILED))
        if self._mode == "offline" and update is not None:
            (folder / MARK).write_text(json.dumps({"reports": trial.reports}))

    def _opened(self, trial: TrackedTrial) -> Any:
        if trial.name not in self._runs:
            config = dict(trial.hyperparameters) | {"arm": trial.arm, "number": trial.number}
            self._runs[trial.name] = self._init(trial.name, trial.name, "trial", config)
            if len(self._runs) > _OPEN:
                self._finish(self._trials[next(iter(self._runs))], None)
        self._runs.move_to_end(trial.name)
        return self._runs[trial.name]

    def _init(self, what: str, name: str, job_type: str, config: dict[str, Any]) -> Any:
        # Beside others of this process; without a look at this program's output, source and machine.
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        )
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT, group=self._sweep.name, job_type=job_type, name=name,
            id=self._id(what), config=config, dir=str(self._folder), mode=cast(Any, self._mode), reinit="create_new",
            resume="allow" if self._mode == "online" else None, settings=settings,
        )  # fmt: skip
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        return run

    def _id(self, what: str) -> str:
        return re.sub(r"[^A-Za-z0-9_-]", "-", f"{self._sweep.id}-{what}")


def _reports(run: Path) -> int | None:
    """How many reports a run on disk has; None where it was not written to its end."""
    with suppress(OSError, ValueError):
        kept = json.loads((run / MARK).read_text())
        return int(kept["reports"]) if isinstance(kept, dict) and "reports" in kept else None
    return None
