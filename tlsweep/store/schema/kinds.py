"""The kinds of events, and what each has in the JSON of its details."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Kind(NamedTuple):
    """A kind of event."""

    meaning: str
    details: str
    """The names in the mapping `details`; earlier versions wrote fewer."""


_RUNG = "`rung`, `score` (of a loss times -1), `threshold` (what goes on has at least it), `compared`, `rank`"
_PLACES = "`places` (how many go on, where it was ranked: the threshold is the score of the last) of `expected`"
_NODE = "`node`, `address`, `cpus`, `gpus`, `slots` (how many trials now run at once)"

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "launched": Kind(
            "the sweep began", "`spec`, the fingerprints of `data` and `weights`, `environment`, `images`, `classes`"
        ),
        "resumed": Kind(
            "the sweep goes on after it was stopped or killed",
            "as of `launched`; `reopened` (trials that go on), `extended` (fields with `from` and `to`)",
        ),
        "created": Kind("a configuration was sampled", "`number`, `hyperparameters`"),
        "started": Kind("a worker began to train it, or to go on with it", ""),
        "paused": Kind("it gave up its slot to others, or waits for them, and will go on", "`reason`"),
        "moved": Kind(
            "its node is about to be taken away; it goes on elsewhere from its newest checkpoint", "`reason`"
        ),
        "promoted": Kind(
            "it goes on from the rung where it was held (ASHA, promotion form)",
            f"{_RUNG}, `idle` (it goes on because nothing else was left to do)",
        ),
        "joined": Kind(
            "it survived the screening and is a member of the population", "`members`, `rank`, `rung`, `score`"
        ),
        "stopped": Kind(
            "it was ended before its last epoch",
            f"`reason`; at a rung {_RUNG}, {_PLACES}; where it diverged `epoch`; by `search.patience` "
            "`score`, `best_score`, `best_epoch`; `out_of_budget` (more budget lets it go on)",
        ),
        "exploited": Kind(
            "it took weights and configuration of a better member",
            "`donor`, `donor_generation`, `donor_epoch`, `checkpoint`, `digest`, `hyperparameters` (after mutation), "
            "`score`, `donor_score`, `rank`, `compared`; of up to 100 members `scores`, `lowest`, `highest`; `recipe`",
        ),
        "perturbed": Kind("values of the copied configuration were changed", "for each value `from` and `to`"),
        "retried": Kind(
            "its function raised, it hung, or its process died; it goes on from its last checkpoint",
            "`reason`, `error` (the traceback), `fault`, `counted` (1 where it counts as a failure)",
        ),
        "restored": Kind(
            "its last checkpoint was missing or damaged; it went on from the one before",
            "`reason`, `passed_over`, `checkpoint`, `epoch`",
        ),
        "repeated": Kind(
            "an epoch that was reported already was trained again, from an older checkpoint", "`checkpoint`, `digest`"
        ),
        "failed": Kind("it failed for good", "`reason`, `error` (the traceback), `fault`"),
        "finished": Kind("it was trained to the last epoch", "`reason`; what else decided, as of `stopped`"),
        "interrupted": Kind("the sweep was stopped before it ended; 'tlsweep resume' goes on with it", "`reason`"),
        "evaluated": Kind(
            "the winner of an arm met the test split",
            "`trial` (`start`: nothing was trained), `loss`, `accuracy`, `precision`, `recall`, `f1`, `top5`, `auroc`, "
            "`ece`, `per_class`, `confusion`, `runs`; standard errors `…_se`; `passed_over` (damaged checkpoints)",
        ),
        "souped": Kind(
            "the best networks were averaged (`soup`), and the average set against the winner",
            "`trials` (else the `reason`), `start_share`, `weights`, `considered`, `chosen_on`, `judged_on` (`ahead`, "
            "`low`, `high`, or `loss`, `se`), `handed_over`, `validation`, `ensemble` (on the test), `passed_over`",
        ),
        "node_joined": Kind("a node came to the cluster", _NODE),
        "node_refused": Kind(
            "a node that joined is not ready for this sweep; no trial runs there", f"{_NODE}, `problems`"
        ),
        "node_draining": Kind("a node will be taken away: trials on it move, none begins there", _NODE),
        "node_lost": Kind("a node is gone; its trials go on elsewhere from their last checkpoints", _NODE),
    }
)
"""The events, and what each has in the JSON of its details."""
