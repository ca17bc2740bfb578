"""One process at a time writes to a sweep on object storage, which has no locks: a lease that is renewed.

The holder writes its name over and over. Who finds a lease waits whether it changes, by its own clock: then somebody
lives, and it is refused; if nothing happens for a whole term, the holder is dead or cut off. A holder that could not
renew for a term writes nothing until it has made sure that the lease is still its own.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any
from uuid import uuid4

from tlsweep.errors import ResultsError
from tlsweep.store import objects
from tlsweep.store.objects import ObjectPath, ObjectStoreError

TERM = 20.0
"""Seconds for which a renewal holds; it is renewed four times as often."""
GRACE = 2.0
"""Seconds that a request may be under way: longer than the term before a lease is taken over, and once more after."""


class Lease:
    """The right to write to a sweep's folder, until it is given back, taken away, or not renewed for a term.

    Raises:
        ResultsError: another process has it.
    """

    def __init__(self, location: ObjectPath, phase: Callable[[str], None] = lambda text: None) -> None:
        """Take the lease, and begin to renew it.

        Args:
            location: the object that is the lease.
            phase: is told what is being waited for.
        """
        self._location, self._id = location, uuid4().hex
        self._renewals = 0
        self.on_lost: Callable[[str], None] = lambda reason: None
        """Called by another thread, once, with the reason."""
        self._lost: str | None = None
        self._trouble = "it takes too long to renew the lease on the sweep"
        self._renewed, self._changed = 0.0, threading.Condition()
        self._over = threading.Event()
        self._lapsed = False
        """Whether somebody else may have had it since it was last asked for."""
        self._take(phase)
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def wait_until_held(self) -> bool:
        """Whether it had run out since the last time: then somebody else may have had it meanwhile.

        Raises:
            ResultsError: somebody else has it now.
            ObjectStoreError: it could not be renewed, as the store is away.
        """
        with self._changed:
            lapsed = self._lapsed or not self._held()
            self._changed.wait_for(lambda: self._lost is not None or self._held(), objects.PATIENCE)
            if self._lost is not None:
                raise ResultsError(self._lost)
            if not self._held():
                raise ObjectStoreError(self._trouble, str(self._location))
            self._lapsed = False
        return lapsed

    @property
    def lost(self) -> bool:
        """Whether somebody else has it."""
        return self._lost is not None

    def lose(self, holder: str) -> None:
        """Somebody else has it."""
        with self._changed:
            if self._lost is not None:
                return
            self._lost = (
                f"sweep '{self._location.parent.name}' was taken over by {holder}, as this process was cut off from "
                "the results for a while; leave it to that one"
            )
            self._changed.notify_all()
        self.on_lost(self._lost)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._held():  # else the store is away, or it is another's
            with suppress(OSError):
                if self._read().get("id") == self._id:
                    self._location.unlink()

    def _held(self) -> bool:
        return self._lost is None and _now() < self._renewed + TERM

    def _take(self, phase: Callable[[str], None]) -> None:
        found = self._read()
        if found:
            phase(f"waiting {TERM + GRACE:.0f} s for a sign of life of {_holder(found)}, which ran this sweep last")
            end = time.monotonic() + TERM + GRACE
            while found and time.monotonic() < end:
                time.sleep(1)
                before, found = found, self._read()
                if found and found != before:
                    raise self._refused(found)
        self._renew()
        time.sleep(GRACE)  # who saw the same as this process has written by then, and the last one has it
        if (found := self._read()).get("id") != self._id:
            raise self._refused(found)

    def _refused(self, found: dict[str, Any]) -> ResultsError:
        return ResultsError(
            f"sweep '{self._location.parent.name}' is being run by {_holder(found)}; wait for it, or stop it, before "
            "you resume it"
        )

    def _keep(self) -> None:
        while not self._over.wait(TERM / 4):
            try:
                # Looked at before it is written: else this would write over the name of who took it meanwhile.
                found = self._read()
                if found and found.get("id") != self._id:
                    self.lose(_holder(found))
                    return
                self._renew()
            except OSError as error:  # the next time, or the lease runs out
                self._trouble = error.strerror or str(error)

    def _renew(self) -> None:
        asked = _now()
        self._renewals += 1
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        content = {"holder": holder, "id": self._id, "renewals": self._renewals}
        # Asked once, without patience: a request that is repeated later could land after the term, on another's lease.
        self._location.write_bytes(json.dumps(content).encode(), patience=0)
        with self._changed:
            # One that came late, or was under way for so long that it may have landed on another's, proves nothing.
            late = asked >= self._renewed + TERM or _now() - asked > GRACE
            self._lapsed |= self._renewals > 1 and late
            self._renewed = asked
            self._changed.notify_all()

    def _read(self) -> dict[str, Any]:
        """What the lease says; empty where there is none."""
        try:
            found = json.loads(self._location.read_bytes(patience=0))
        except FileNotFoundError:
            return {}
        except ValueError:
            return {"id": None}
        return found if isinstance(found, dict) else {"id": None}


def _now() -> float:
    """Seconds by a clock that goes on while the machine sleeps: others do not sleep."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _holder(found: dict[str, Any]) -> str:
    return str(found.get("holder", "another process"))
