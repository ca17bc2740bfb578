"""What a sweep trains, as the driver has it: images, or a function of the user's own."""

from tlsweep.sweep.subjects.subject import Subject, subject_of

__all__ = ["Subject", "subject_of"]
