"""What a decision writes down is what readers of the journal find."""

from tlsweep.schedulers import Exploit
from tlsweep.store import Descent

EXPLOIT = Exploit(
    donor="t0001",
    donor_generation=2,
    epoch=6,
    checkpoint="checkpoints/t0001/g2-e6-01234567.pt",
    digest="0" * 64,
    hyperparameters={"lr": 0.01, "batch_size": 32},
    mutated={"lr": (0.02, 0.01)},
    details={"score": 0.5, "donor_score": 0.9},
)


def test_a_reader_of_the_journal_finds_where_an_exploit_took_its_weights_from() -> None:
    read = Descent.from_details(EXPLOIT.to_details())
    assert {name: value for name, value in vars(EXPLOIT).items() if name in vars(read)} == vars(read)


def test_rules_that_are_resumed_meet_the_decision_that_was_written_down() -> None:
    read = Exploit.from_details(EXPLOIT.to_details())
    assert read.to_details() == EXPLOIT.to_details()
    assert read.details["donor_score"] == 0.9
