"""What the tests of training share."""

from trial_fixtures import clean_digits, digits, few_digits, train

__all__ = ["clean_digits", "digits", "few_digits", "train"]
