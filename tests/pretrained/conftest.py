"""What the tests of what trials begin with share."""

from trial_fixtures import clean_digits, digits, few_digits, train

__all__ = ["clean_digits", "digits", "few_digits", "train"]
