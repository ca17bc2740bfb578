"""The hosts that other tests stand on are what they say, and leave nothing behind."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import wait_until
from hosts import Host, Network, hosts, need_hosts


def reaches(here: Host, there: Host) -> bool:
    try:
        return here.run(["bash", "-c", f"exec 3<>/dev/tcp/{there.address}/7000"], timeout=2).returncode == 0
    except subprocess.TimeoutExpired:  # nobody refuses where the cable is pulled
        return False


@pytest.fixture
def shared() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hosts-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def serving(shared: Path) -> Iterator[Network]:
    """Two hosts, of which the second answers at port 7000 of its own address."""
    with hosts(2, shared) as network:
        server = network.hosts[1]
        with server.popen([sys.executable, "-m", "http.server", "7000"], stderr=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: reaches(network.hosts[0], server))
                yield network
            finally:
                process.kill()


def test_a_host_has_a_name_an_address_and_temporary_files_of_its_own(serving: Network, shared: Path) -> None:
    one, other = serving.hosts
    assert one.address != other.address
    (shared / "file").touch()
    assert Path("/tmp").samefile(shared.parent)
    seen = one.run(["sh", "-c", f"hostname; getent hosts host2 | cut -d' ' -f1; ls -d /tmp/*; ls {shared}/file"])
    name, address, *found = seen.stdout.split()
    assert (name, address) == ("host1", other.address)
    assert {str(shared), f"{shared}/file"} <= set(found)
    with tempfile.NamedTemporaryFile(dir="/tmp") as ours:
        assert one.run(["ls", ours.name]).returncode != 0
    assert one.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/7000"]).returncode != 0  # loopback is its own


def test_a_cable_is_pulled_and_put_back(serving: Network) -> None:
    one, other = serving.hosts
    other.cut_off()
    assert not reaches(one, other)
    assert other.processes()
    other.reconnect()
    wait_until(lambda: reaches(one, other))


def test_processes_of_one_host_are_killed_and_it_can_be_used_again(serving: Network) -> None:
    one, other = serving.hosts
    with one.popen(["sleep", "60"]) as bystander:
        wait_until(one.processes)
        other.kill_processes()
        wait_until(lambda: not other.processes())
        assert not reaches(one, other)
        assert other.run(["hostname"]).stdout == "host2\n"
        bystander.terminate()
        assert bystander.wait(5) == -15


def test_nothing_is_left_even_if_the_tests_are_killed(shared: Path) -> None:
    need_hosts()
    program = (
        "import sys; from pathlib import Path; from hosts import hosts\n"
        f"with hosts(1, Path('{shared}')) as network:\n"
        "    network.hosts[0].run(['sh', '-c', 'setsid sleep 4321 & :'])\n"
        "    print(network.address, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1] / "support", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as tests:  # fmt: skip
        assert tests.stdout is not None
        address = tests.stdout.readline().strip()
        assert address in addresses()
        tests.kill()
    wait_until(lambda: address not in addresses())
    assert subprocess.run(["pgrep", "--full", "^sleep 4321"]).returncode == 1


def addresses() -> set[str]:
    """This machine's addresses."""
    listing = subprocess.run(["ip", "-json", "address"], capture_output=True, check=True).stdout
    return {one["local"] for interface in json.loads(listing) for one in interface["addr_info"]}
