"""What the journal costs on object storage, against moto's S3 server on loopback.

    python tests/bench/object_storage.py

The latency of one upload; what the driver pays for a record, which returns at once; how fast records become safe when
they come as fast as possible, and in how many uploads; how long a resume of 10,000 records takes that were uploaded one
by one; and the bytes that the journal sends for a record. Then the table of reports, which is uploaded whole each time:
what a flush takes there and in a folder, by how many reports there are. A store at a distance adds its latency to every
request, and its bandwidth to large ones.
"""

import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from s3_server import s3_server

from tlsweep.store import ObjectPath, read_journal
from tlsweep.store.object_journal import ObjectJournal
from tlsweep.store.schema import METRICS, REPORTS
from tlsweep.store.tables.files import write_file
from tlsweep.store.tables.growing import GrowingFile

RECORDS = 10_000
ROWS = (10_000, 100_000, 1_000_000)


def record(number: int) -> dict[str, Any]:
    """Make a record as large as a report."""
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1",
             "train_seconds", "eval_seconds", "wait_seconds", "samples_per_second", "time", "elapsed")  # fmt: skip
    hyperparameters = {f"hyperparameter_{at}": 0.0123456789 for at in range(12)}
    checkpoint = f"checkpoints/t{number:04d}/g0-e000001-{'c' * 8}.pt"
    return {"type": "report", "trial": f"t{number:04d}", "checkpoint": checkpoint, "digest": "d" * 64,
            **hyperparameters, **dict.fromkeys(names, 0.1234567890123)}  # fmt: skip


def flushes(bucket: str) -> None:
    """Print how long it takes to bring a table up to date after one report more, in a bucket and in a folder."""
    table, there = GrowingFile(REPORTS), 0
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for count in ROWS:
            for number in range(there, count):
                figures = {name: random.random() for name in METRICS}
                table.add(record(number) | figures | {"checkpoint": None, "digest": None})
            there, seconds = count, []
            for place in (ObjectPath(bucket), Path(folder)):
                begun = time.perf_counter()
                size = write_file(place, "reports", table.content())
                seconds.append(time.perf_counter() - begun)
            print(f"{count:9,} reports, {size / 1e6:.1f} MB: {seconds[0]:.2f} s in the bucket, {seconds[1]:.2f} s in a "
                  "folder")  # fmt: skip


def main() -> None:
    with s3_server() as server:
        os.environ |= server.environment
        server.make_bucket("bucket")
        latencies = []
        for at in range(200):
            begun = time.perf_counter()
            ObjectPath(f"s3://bucket/latency/{at}").write_bytes(b"x" * 1000)
            latencies.append(time.perf_counter() - begun)
        print(f"one upload of 1 kB: median {1000 * statistics.median(latencies):.1f} ms")

        place = ObjectPath("s3://bucket/fast/journal")
        journal, begun, cpu = ObjectJournal(place), time.perf_counter(), time.thread_time()
        for number in range(RECORDS):
            journal.append(record(number))
        appended, spent = time.perf_counter() - begun, time.thread_time() - cpu
        journal.flush()
        safe, sizes = time.perf_counter() - begun, [one.size for one in place.files().values()]
        journal.close()
        print(f"{RECORDS:,} records appended in {appended:.2f} s, {1e6 * spent / RECORDS:.0f} µs each; safe after "
              f"{safe:.2f} s, in {len(sizes) - 1} uploads, {sum(sizes) / RECORDS:.0f} bytes each")  # fmt: skip

        place = ObjectPath("s3://bucket/slow/journal")
        journal, begun = ObjectJournal(place), time.perf_counter()
        for number in range(RECORDS):
            journal.append(record(number))
            journal.flush()
        each = (time.perf_counter() - begun) / RECORDS
        objects, begun = len(place.files()), time.perf_counter()
        found = sum(1 for _ in read_journal(place))
        read, begun = time.perf_counter() - begun, time.perf_counter()
        ObjectJournal(place, records=found).close()
        opened = time.perf_counter() - begun
        journal.close()
        print(f"one by one {1000 * each:.1f} ms each, merges included; then {objects} objects, "
              f"read in {read:.2f} s, opened for the next launch in {opened:.2f} s ({found:,} records)")  # fmt: skip
        flushes("s3://bucket/tables")


if __name__ == "__main__":
    main()
