"""Prometheus scrapes a sweep while it runs, and answers everything that the Grafana dashboard asks."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import own_code
import pytest
import yaml
from command_line import PATIENCE, CommandLine, command_line, wait_until

from tlsweep.cluster.telemetry import METRICS

CLUSTER = Path(__file__).parents[2] / "cluster"
DASHBOARD = json.loads((CLUSTER / "grafana" / "dashboards" / "tlsweep.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
SWEEP = [
    "digits", "-o", "search.trials=5000", "-o", "search.min_reports=2", "-o", "budget.wall_time=10m",
    # Many short trials, which leave the cores to other tests.
    "-o", "model={name: own_code:paced, args: {seconds: 0.01}}", "-o", "controls=[]", "-o", "train.batch_size=16",
]  # fmt: skip


def exported(name: str) -> str:
    """What Ray makes of a metric's name."""
    return f"ray_{name}_total" if METRICS[name].kind == "Counter" else f"ray_{name}"


def in_words(expression: str) -> str:
    """A query as Grafana would send it."""
    return re.sub(r"\$(sweep|SessionName)\b", ".*", expression).replace("$__rate_interval", "1m")


def test_the_dashboard_asks_for_every_metric_and_for_no_other() -> None:
    asked = {name for expression in EXPRESSIONS for name in re.findall(r"\bray_tlsweep_\w+", expression)}
    assert asked == {exported(name) for name in METRICS}


def test_the_dashboard_is_what_ray_and_grafana_ask_for() -> None:
    """Ray's pages open it by uid, and pass these variables; panels do not overlap."""
    assert DASHBOARD["uid"] == "tlsweep"
    assert {one["name"] for one in DASHBOARD["templating"]["list"]} == {"datasource", "SessionName", "sweep"}
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(p["x"] + x, p["y"] + y) for p in places for x in range(p["w"]) for y in range(p["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    (source,) = yaml.safe_load((CLUSTER / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["name"] == "Prometheus"  # Ray's default for var-datasource


class Grafana(BaseHTTPRequestHandler):
    """As much of Grafana as Ray's dashboard asks for before it shows it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"database": "ok"}')

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def grafana() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Grafana) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def free_ports(*names: str) -> dict[str, str]:
    sockets = [socket.socket() for _ in names]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return dict(zip(names, ports, strict=True))


@contextmanager
def two_nodes(folder: str, variables: Mapping[str, str]) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | variables
    script = [str(CLUSTER / "local.sh")]
    environment |= {"NODES": "2", "NODES_FOLDER": folder, "VENV": sys.prefix, "CPUS": "2"}
    try:
        subprocess.run([*script, "up"], env=environment, check=True, capture_output=True, timeout=120)
        yield
    finally:
        subprocess.run([*script, "down"], env=environment, check=True, capture_output=True, timeout=120)


@contextmanager
def prometheus(folder: Path, discovery: Path, port: str) -> Iterator[None]:
    """Debian's, with the file that ships; only where Ray keeps its list, and how often one asks, are others."""
    config = (CLUSTER / "prometheus.yaml").read_text()
    assert config.count("/tmp/ray/prom_metrics_service_discovery.json") == 1
    config = config.replace("/tmp/ray/prom_metrics_service_discovery.json", str(discovery)).replace(" 10s", " 1s")
    (folder / "prometheus.yaml").write_text(config)
    subprocess.run(["promtool", "check", "config", folder / "prometheus.yaml"], check=True, capture_output=True)
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def get(url: str, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_prometheus_answers_while_a_sweep_runs(tmp_path: Path, grafana: str) -> None:
    if not shutil.which("prometheus"):
        pytest.skip("needs the Debian package prometheus")
    folder = tempfile.mkdtemp(prefix="pm-", dir="/tmp")
    ports = free_ports("GCS_PORT", "DASHBOARD_PORT", "CLIENT_PORT", "PROMETHEUS")
    often = {"RAY_metrics_report_interval_ms": "1000", "HOME": str(tmp_path)}
    shown = {
        "RAY_GRAFANA_HOST": grafana,
        "RAY_GRAFANA_DATA_DASHBOARD_UID": DASHBOARD["uid"],
        "RAY_PROMETHEUS_HOST": f"http://127.0.0.1:{ports['PROMETHEUS']}",
    }
    with two_nodes(folder, often | shown | ports), command_line(tmp_path) as tlsweep:
        tlsweep.environment = often
        shutil.copy(own_code.__file__, tlsweep.cwd)
        discovery = Path(folder, "node0", "prom_metrics_service_discovery.json")
        with prometheus(tmp_path, discovery, ports["PROMETHEUS"]):
            answers_to_everything(tlsweep, ports)
        # The metrics page of Ray's own dashboard is told to show ours in its second tab.
        token = (tmp_path / ".ray" / "auth_token").read_text().strip()
        health = get(f"http://127.0.0.1:{ports['DASHBOARD_PORT']}/api/grafana_health", token)["data"]
        assert health["grafanaHost"] == grafana
        assert health["dashboardUids"]["data"] == "tlsweep"
    shutil.rmtree(folder, ignore_errors=True)


def answers_to_everything(tlsweep: CommandLine, ports: Mapping[str, str]) -> None:
    def ask(query: str) -> list[Any]:
        try:
            url = f"http://127.0.0.1:{ports['PROMETHEUS']}/api/v1/query?query={urllib.parse.quote(query)}"
            found: list[Any] = get(url)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        return found

    with tlsweep.start("launch", *SWEEP, "--address", f"127.0.0.2:{ports['GCS_PORT']}") as sweep:
        sweep.until(lambda: "dashboard at" in sweep.out)
        unanswered = {exported(name) for name in METRICS}
        # What is empty when all is well ends in "> 0"; that it is understood is enough.
        unanswered |= {in_words(one) for one in EXPRESSIONS if not one.endswith("> 0")}

        def all_answered() -> bool:
            unanswered.difference_update([query for query in unanswered if ask(query)])
            return not unanswered

        try:
            wait_until(all_answered, timeout=PATIENCE)
        except TimeoutError:
            pytest.fail(f"no answer to {unanswered}\n{sweep.out}")
        for expression in EXPRESSIONS:
            ask(in_words(expression))
        series = ask("ray_tlsweep_trials")
        assert {one["metric"]["sweep"] for one in series} == {"digits"}
        assert {one["metric"]["arm"] for one in series} == {"main"}
        assert len(ask('count({__name__=~"ray_tlsweep_.*"})')) == 1
        assert float(ask('count({__name__=~"ray_tlsweep_.*"})')[0]["value"][1]) < 60
        ended = sweep.interrupt()
        assert ended.code == 130, ended
