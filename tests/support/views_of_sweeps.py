"""What observers are shown, for tests."""

from typing import Any

from builders import SweepBuilder

from tlsweep.observer import SweepView


def view_of(builder: SweepBuilder, **changes: Any) -> SweepView:
    """A sweep that began at time 100, two trials at once."""
    shown: dict[str, Any] = {"slots": 2, "dashboard": "http://127.0.0.1:8265", "began": 100.0} | changes
    return SweepView(builder.spec, builder.folder, builder.state, builder.spending, **shown)
