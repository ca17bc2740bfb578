"""Code for a process of a test's own: steps that allocate and free what a step of training does."""

STEPS = """
import resource
from concurrent.futures import ThreadPoolExecutor
def steps(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        activations = [bytearray(20 << 20) for _ in range(4)]
        del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def count():
    steps(2)
    return steps(10)
"""
"""`count()` is the page faults of ten steps with four activations each, of 20 MiB; by Python's own allocator, which
takes them from malloc."""
