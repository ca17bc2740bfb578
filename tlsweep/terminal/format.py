"""Numbers as people read them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlsweep.store import Location
from tlsweep.store.locations import as_typed
from tlsweep.store.starts import SOUP, START

MISSING = "-"
TOKEN_HINT = "ray get-auth-token"
"""The command whose output Ray's dashboard asks for: no link can carry a token past its log-in (ray 2.60)."""


def value(number: Any) -> str:
    """A hyperparameter: three significant digits; whole numbers, words, switches and null as a spec has them."""
    if number is None:  # dropout, where it is the network's own
        return "null"
    if isinstance(number, float):
        if math.isfinite(number):
            return f"{number:.3g}"
        return str(number)
    if isinstance(number, bool):
        return str(number).lower()
    return str(number)


def decimals(numbers: Sequence[float]) -> int:
    """How many decimals the numbers of a column have, so that the largest has three significant digits."""
    largest = max(map(abs, numbers), default=0.0)
    return max(2 - math.floor(math.log10(largest)), 0) if 0 < largest < math.inf else 0


def score(number: float | None) -> str:
    """A metric: three decimals; tiny and huge losses as powers of ten."""
    if number is None or math.isnan(number):
        return MISSING
    if number == 0 or 1e-3 <= abs(number) < 1e4:
        return f"{number:.3f}"
    return f"{number:.1e}"


def bounds(low: float, high: float) -> str:
    """Show an interval as [0.886, 0.942]."""
    return f"[{low:.3f}, {high:.3f}]"


def uncertain(number: float | None, error: float | None) -> str:
    """A mean over the networks of a trial, 0.913 ± 0.012; a metric of one network as it is."""
    if error is None or math.isnan(error):
        return score(number)
    return f"{score(number)} ± {score(error)}"


def tested(details: Mapping[str, Any]) -> str:
    """What a winner reached on the test: its accuracy, or all that a function of the user's own gave."""
    if "accuracy" in details:
        return f"accuracy {uncertain(details['accuracy'], details.get('accuracy_se'))}"
    figures = [f"{name} {score(number)}" for name, number in details.items() if not isinstance(number, str)]
    return ", ".join(figures) or "without a figure"


def difference(number: float | None) -> str:
    """A gain, with its sign."""
    if number is None or math.isnan(number):
        return MISSING
    return f"{number:+.3f}"


def duration(seconds: float) -> str:
    """Show seconds as 0.4s, 45s, 3m10s, 2h05m or 1d03h."""
    if 0.005 <= seconds < 0.5:  # of a small trial, which took some time all the same
        return f"{seconds:.1g}s"
    total = max(round(seconds), 0)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    if total < 86400:
        return f"{total // 3600}h{total % 3600 // 60:02d}m"
    return f"{total // 86400}d{total % 86400 // 3600:02d}h"


def size(count: int) -> str:
    """Bytes, in powers of 1024 as in a spec: 512 B, 3.2 MB."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024:
            # 1000 to 1023 with three significant digits would read 1.02e+03.
            if amount < 1000:
                return f"{amount:.3g} {unit}"
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.3g} TB"


def counted(count: int, noun: str) -> str:
    """Count a noun: 1 trial, 2 trials, 12,000 images."""
    if count == 1:
        return f"{count:,} {noun}"
    return f"{count:,} {noun}s"


def words(name: str) -> str:
    """Show val_accuracy as 'val accuracy', batch_size as 'batch size'."""
    return name.replace("_", " ")


def named(trial: str) -> str:
    """A trial, and what no trial is: start (nothing was trained), soup (an average)."""
    if trial == SOUP:
        return f"{trial} (an average)"
    return f"{trial} (nothing was trained)" if trial == START else trial


def location(path: Location) -> str:
    """A location as one would type it: relative where it lies below the working directory."""
    if not isinstance(path, Path):
        return str(path)
    return str(as_typed(path))
