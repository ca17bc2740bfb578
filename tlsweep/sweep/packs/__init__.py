"""Several trials in one place: who is trained beside whom, and how a worker does it."""
