"""Which Ray a sweep joins, without one: what addresses say, and what answers that is no Ray."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlsweep.cluster import address as module
from tlsweep.cluster.address import PRIVATE, cluster_to_join
from tlsweep.errors import ResourceError

NO_ADDRESS = [
    "host", "host:", ":6379", "host:0", "host:99999", "host:-1", "[::1]:x", "::1:6379", "[::1]", "a b:6379",
    "host:6379/x", "user@host:6379", "höst :6379", "host:６３７９", "x" * 300 + "\x1b]0;y\x07",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no cluster was started, with a token."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(module, "use_token", lambda: None)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)


@pytest.fixture
def port() -> Iterator[int]:
    """One on which somebody listens who says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused(address: str, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    if name == "RAY_ADDRESS":
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ResourceError) as error:
        cluster_to_join(address if name == "--address" else None)
    assert str(error.value).startswith(f"{name} '")
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize("name", ["--address", "RAY_ADDRESS"])
@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_address_is_one_line(address: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no address of a Ray cluster; write HOST:PORT, for example 10.0.0.1:6379" in refused(
        address, name, monkeypatch
    )


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_an_empty_address_is_none_and_an_empty_variable_is_as_if_it_were_not_there(
    blank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no address of a Ray cluster" in refused(blank, "--address", monkeypatch)
    monkeypatch.setenv("RAY_ADDRESS", blank)
    assert cluster_to_join(None) is None


@pytest.mark.parametrize("name", ["--address", "RAY_ADDRESS"])
@pytest.mark.parametrize("said", ["10.9.8.7:6379", " 10.9.8.7:6379", "10.9.8.7:6379\r\n", "Local", "LOCAL "])
def test_blanks_around_an_address_and_capitals_do_no_harm(
    said: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head({}, monkeypatch)
    monkeypatch.setenv("RAY_ADDRESS", said)
    expected = "10.9.8.7:6379" if "10." in said else None
    assert cluster_to_join(said if name == "--address" else None) == expected


@pytest.mark.parametrize("said", ["AUTO", "Auto ", " auto"])
def test_auto_is_understood_however_it_is_written(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no cluster of 'ray start --head' runs on this machine" in refused(said, "--address", monkeypatch)


@pytest.mark.parametrize("name", ["--address", "RAY_ADDRESS"])
@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://head:10001", "anyscale://x"])
def test_doors_of_other_kinds_are_told_from_a_clusters(
    address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "submit it: tlsweep submit SPEC http://HEAD:8265" in refused(address, name, monkeypatch)


@pytest.mark.parametrize("name", ["--address", "RAY_ADDRESS"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "ä" * 70, "a..b"])
def test_where_nobody_answers_is_one_line(host: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no Ray cluster answers there (" in refused(f"{host}:1", name, monkeypatch)


@pytest.mark.parametrize("name", ["--address", "RAY_ADDRESS"])
def test_who_listens_but_is_no_ray_is_one_line(port: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "what answers there is no Ray cluster" in refused(f"127.0.0.1:{port}", name, monkeypatch)


def head(labels: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every port belongs to the head of a cluster with these labels."""
    monkeypatch.setattr(module, "_check_listening", lambda host, port: None)
    monkeypatch.setattr(module, "_head_labels", lambda address: labels)


@pytest.mark.parametrize("recorded", ["10.9.8.7:6379", "127.0.0.1:1", "not an address", "\udcff", ""])
def test_auto_never_joins_the_private_ray_of_another_sweep(
    recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head(PRIVATE | {"ray.io/node-id": "x"}, monkeypatch)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_bytes(os.fsencode(recorded))
    assert cluster_to_join(None) is None
    assert cluster_to_join("local") is None
    assert "the private Ray of another sweep is not joined" in refused("auto", "--address", monkeypatch)
    assert "the private Ray of another sweep is not joined" in refused("auto", "RAY_ADDRESS", monkeypatch)


@pytest.mark.parametrize("name", ["--address", "RAY_ADDRESS"])
def test_by_its_address_it_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head(PRIVATE, monkeypatch)
    told = refused("10.9.8.7:6379", name, monkeypatch)
    assert "this is the private Ray of another sweep, and ends with it" in told
    assert "10.9.8.7:6379" in told


@pytest.mark.parametrize("said", [None, "auto"])
def test_what_ray_start_made_here_is_joined(said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head({}, monkeypatch)
    record = tmp_path / "ray" / "ray_current_cluster"
    record.parent.mkdir()
    record.write_text("10.9.8.7:6379\n")
    assert cluster_to_join(said) == "10.9.8.7:6379"
    if os.geteuid() == 0:
        os.chown(record, 65534, 65534)  # everybody can write into /tmp/ray, and get our token sent
        assert cluster_to_join(None) is None


def test_local_in_the_variable_is_a_private_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    head({}, monkeypatch)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert cluster_to_join(None) is None
    assert cluster_to_join("10.9.8.7:6379") == "10.9.8.7:6379"
