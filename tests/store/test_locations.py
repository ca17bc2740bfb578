"""What holds for a folder holds for a bucket; and what stores say, in one line."""

import pickle
from pathlib import Path

import pytest
from s3_server import SECRET, S3Server

from tlsweep.errors import ResultsError
from tlsweep.store import (
    Location,
    ObjectPath,
    ObjectStoreError,
    create_sweep_folder,
    find_sweep_folder,
    list_sweep_folders,
    open_journal,
    to_location,
)
from tlsweep.store.files import folder_to_fill, log_to_upload, write_json, write_text, write_whole
from tlsweep.store.folder import command
from tlsweep.store.locations import children, files_below, remove_tree
from tlsweep.store.stores import connect


def test_what_was_written_is_read_back_whole_and_replaced_whole(location: Location) -> None:
    file = location / "a" / "b.txt"
    assert not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    write_text(file, "grün")
    write_text(file, "blau und grün")
    assert (file.read_text(encoding="utf-8"), file.name, file.parent) == ("blau und grün", "b.txt", location / "a")
    assert (location / "a").exists()
    write_json(location / "c.json", {"x": [1]})
    write_whole(location / "empty", b"")
    assert (location / "empty").read_bytes() == b""
    large = bytes(range(256)) * 50_000  # more than what stores take at once
    write_whole(location / "large", large)
    assert (location / "large").read_bytes() == large
    facts = files_below(location)
    assert {name: one.size for name, one in facts.items()} == {
        "a/b.txt": 14, "c.json": len('{\n  "x": [\n    1\n  ]\n}\n'), "empty": 0, "large": len(large),
    }  # fmt: skip
    assert sorted(children(location)) == ["a", "c.json", "empty", "large"]


def test_what_was_removed_is_gone_and_nothing_else(location: Location) -> None:
    for name in ("x", "d/x", "d/e/x", "dd/x"):
        write_whole(location / name, b"x")
    (location / "x").unlink()
    (location / "x").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (location / "x").unlink()
    remove_tree(location / "d")
    remove_tree(location / "d")
    assert set(files_below(location)) == {"dd/x"}
    assert children(location / "nowhere") == []
    assert files_below(location / "nowhere") == {}


def test_files_of_others_are_made_in_a_folder_and_lie_where_they_are_wanted(location: Location) -> None:
    with folder_to_fill(location / "best") as folder:
        folder.mkdir(exist_ok=True)
        (folder / "small").write_bytes(b"1")
        (folder / "large").write_bytes(b"22")
    assert set(files_below(location / "best")) == {"small", "large"}
    with log_to_upload(location / "log") as log:
        log.write_text("said")
    assert (location / "log").read_text() == "said"


def test_a_place_travels_as_its_address_alone(location: Location) -> None:
    write_whole(location / "x", b"x")
    pickled = pickle.dumps(location)
    assert pickle.loads(pickled) == location
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled) / "x" == location / "x"


def test_sweeps_are_numbered_found_and_listed(location: Location) -> None:
    for expected in ("digits", "digits-2", "digits-3"):
        folder = create_sweep_folder(location, "digits", exact=False)
        assert folder.name == expected
        assert folder.unused
        write_text(folder.spec, "name: it")
    journal = open_journal(folder.journal, None, 0)
    assert folder.unused
    journal.append({"type": "event"})
    journal.close()
    assert not folder.unused
    folder.discard_if_unused()
    assert find_sweep_folder(location) == find_sweep_folder(location, "digits-3") == folder
    assert find_sweep_folder(to_location("elsewhere"), str(folder.path)) == folder
    assert list_sweep_folders(location) == [folder]
    assert find_sweep_folder(location, "digits", begun=False).name == "digits"
    with pytest.raises(ResultsError, match="there is no sweep 'digits' in .*; there are: digits-3"):
        find_sweep_folder(location, "digits")
    with pytest.raises(ResultsError, match="digits' holds another sweep already"):
        create_sweep_folder(location, "digits", exact=True)
    find_sweep_folder(location, "digits-2", begun=False).discard_if_unused()
    assert create_sweep_folder(location, "digits", exact=False).name == "digits-2"


def test_commands_name_the_bucket() -> None:
    assert command("best", ObjectPath("s3://b/results/it")) == "tlsweep best it --results s3://b/results"
    assert command("best", ObjectPath("s3://b/it")) == "tlsweep best it --results s3://b"


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/", "s3://bucket/a/b//", "gs://my_bucket.x/a b"])
def test_addresses(text: str) -> None:
    assert str(to_location(text)) == text.rstrip("/")


@pytest.mark.parametrize("text", ["results", "/abs/olute", "a:b", ".", Path("x")])
def test_folders(text: str | Path) -> None:
    assert to_location(text) == Path(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://key:hush@bucket/x", "holds more than bucket and prefix"),
        ("s3://key:hu/sh@bucket/x", "holds more than bucket and prefix"),
        ("gs://bucket/x?token=hush", "holds more than bucket and prefix"),
        ("s3://bucket/x#hush", "holds more than bucket and prefix"),
        ("ftp://host/x", "is no place for results; give a folder, s3://BUCKET/PREFIX or gs://"),
        ("s3://", "is no place for results"),
        ("s3://Bucket/x", "is no place for results"),
        (Path("s3://bucket/x"), "a Path eats a slash"),
    ],
)
def test_addresses_that_are_refused(text: str | Path, told: str) -> None:
    with pytest.raises(ResultsError) as caught:
        to_location(text)
    assert told in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "address", "told"),
    [
        ({}, "s3://nowhere/x", "there is no .*bucket"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://bucket/x", "the store does not answer; check the network"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
            "s3://bucket/x",
            "access denied; check the credentials",
        ),
    ],
)
def test_what_is_wrong_with_a_store_is_one_line_before_anything_starts(
    bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], address: str, told: str
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    connect.cache_clear()
    questions = [lambda at: create_sweep_folder(at, "it", exact=True), find_sweep_folder]
    for question in questions[: 1 if "denied" in told else 2]:  # moto lets anybody list
        with pytest.raises(ResultsError, match=told) as caught:
            question(to_location(address))
        assert "\n" not in str(caught.value)
        assert SECRET not in str(caught.value)


def test_a_store_that_is_away_is_waited_for_up_to_a_limit(
    store: S3Server, bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    connect.cache_clear()
    with pytest.raises(ObjectStoreError, match="does not answer") as caught:
        (bucket / "x").write_bytes(b"x", patience=1)
    assert caught.value.filename == str(bucket / "x")
    assert pickle.loads(pickle.dumps(caught.value)).strerror == caught.value.strerror
    here = connect("s3", "bucket")
    answers = iter([here, here])
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.environment["AWS_ENDPOINT_URL"])
    connect.cache_clear()
    back = connect("s3", "bucket")
    monkeypatch.setattr("tlsweep.store.objects.connect", lambda scheme, name: next(answers, back))
    (bucket / "x").write_bytes(b"y")
    assert (bucket / "x").read_bytes() == b"y"
