"""What `tlsweep submit` would send, for people to look at before anything goes."""

from typing import TYPE_CHECKING

from tlsweep.terminal.format import size
from tlsweep.text import listed, one_line

if TYPE_CHECKING:
    from tlsweep.jobs.shipping import Shipment

_NAMED = 5
"""Names in a line; who wants all of them asks with --dry-run."""


def shipment_lines(shipment: "Shipment") -> list[str]:
    """All files that would go with their sizes, and what stays here with the reason."""
    sizes = {name: path.stat().st_size for name, path in shipment.files.items()} | shipment.written
    lines = [f"{size(sizes[name]):>8}  {one_line(name)}" for name in sorted(sizes)]
    lines.append(f"{size(sum(sizes.values())):>8}  in {len(sizes):,} files would go, before they are packed")
    if left_out := shipment.left_out:
        lines.append("left out, beside what git ignores:")
        lines += [f"          {one_line(name)}: {left_out[name]}" for name in sorted(left_out)]
    return lines


def left_behind_lines(shipment: "Shipment") -> list[str]:
    """What stays here and might be missed there, a line for each reason; none where nothing does."""
    lines = []
    if shipment.secrets:
        way_out = "--dry-run lists what goes; one that is no secret goes under another name"
        lines.append(
            f"not shipped, as others on the cluster could read them: {listed(shipment.secrets, _NAMED)}; {way_out}"
        )
    if shipment.repositories:
        way_out = "put a copy of what the job needs into its place"
        lines.append(
            "not shipped, as git keeps it in a repository of its own: "
            f"{listed(shipment.repositories, _NAMED)}; {way_out}"
        )
    return lines
