"""cluster/kuberay.yaml: every field is one that Kubernetes and KubeRay know, and the promises of its comments hold."""

import copy
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from manifests import CLUSTER, filled

from tlsweep.spec import load_spec

KUBERNETES = ("1.30", "1.37")
"""The oldest that is worth a check, and the newest that the validator knows."""


@pytest.fixture
def documents() -> dict[str, dict[str, Any]]:
    found = filled("kuberay.yaml", YOUR_IMAGE="registry.example.com/tlsweep:0.1.0", YOUR_RESULTS="s3://bucket/sweeps")
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


@pytest.fixture
def job(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return documents["RayJob/tlsweep"]


@pytest.fixture(scope="session")
def rayjob_schema(test_data: Path) -> dict[str, Any]:
    """KubeRay's schema of a RayJob, made strict: what it does not know is an error, not dropped in silence."""
    definition = yaml.load((test_data / "schemas" / "ray.io_rayjobs.yaml").read_bytes(), yaml.CSafeLoader)
    versions = {one["name"]: one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"]}
    return strict(versions["v1"])


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """No unknown fields, at any depth."""
    for child in (*schema.get("properties", {}).values(), *subschemas(schema)):
        strict(child)
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


def subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield schema[name]


def complaints(document: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    # apiVersion, kind and metadata are checked by the API server, whatever a CRD says of them.
    bare = document | {"metadata": {}}
    return [f"{one.json_path}: {one.message}" for one in jsonschema.Draft202012Validator(schema).iter_errors(bare)]


def templates(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {"submitter": job["spec"]["submitterPodTemplate"], "head": cluster["headGroupSpec"]["template"], **groups}


def pod(template: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", **template["metadata"]},
        "spec": template["spec"],
    }


def test_kuberay_knows_every_field(job: dict[str, Any], rayjob_schema: dict[str, Any]) -> None:
    assert complaints(job, rayjob_schema) == []


@pytest.mark.parametrize("path", [(), ("rayClusterSpec",), ("rayClusterSpec", "headGroupSpec", "template", "spec")])
def test_the_check_sees_a_field_that_is_unknown(
    job: dict[str, Any], rayjob_schema: dict[str, Any], path: tuple[str, ...]
) -> None:
    at = job["spec"]
    for name in path:
        at = at[name]
    at["shutdownAfterJobFinish"] = True
    assert any("shutdownAfterJobFinish" in complaint for complaint in complaints(job, rayjob_schema))


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(documents: dict[str, dict[str, Any]], version: str) -> None:
    own = [one for one in documents.values() if one["kind"] != "RayJob"]
    pods = [pod(template) for template in templates(documents["RayJob/tlsweep"]).values()]
    assert {one["kind"] for one in own} == {"Namespace", "ServiceAccount", "ConfigMap", "NetworkPolicy"}
    for document in own + pods:
        kubernetes_validate.validate(copy.deepcopy(document), version, strict=True)


def test_every_pod_meets_the_restricted_standard(documents: dict[str, dict[str, Any]]) -> None:
    """What the namespace enforces; KubeRay gives its init container the security of the worker's."""
    assert documents["Namespace/tlsweep"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    job = documents["RayJob/tlsweep"]
    containers = [job["spec"]["rayClusterSpec"]["autoscalerOptions"]]
    for template in templates(job).values():
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        containers += template["spec"]["containers"]
    assert len(containers) == 4
    for container in containers:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"].keys() == {"requests", "limits"}


def test_nobody_but_the_cluster_and_the_operator_gets_in(documents: dict[str, dict[str, Any]]) -> None:
    policy = documents["NetworkPolicy/tlsweep"]["spec"]
    labels = policy["podSelector"]["matchLabels"]
    for template in templates(documents["RayJob/tlsweep"]).values():
        assert labels.items() <= template["metadata"]["labels"].items()
    inside, operator = policy["ingress"]
    assert inside == {"from": [{"podSelector": {"matchLabels": labels}}]}
    assert [port["port"] for port in operator["ports"]] == [8265]
    assert documents["RayJob/tlsweep"]["spec"]["rayClusterSpec"]["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_the_cluster_asks_for_a_token_that_the_file_does_not_hold(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert "env" not in str(job["spec"])  # the operator hands each pod its reference to the Secret
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_user_code_cannot_speak_to_kubernetes(documents: dict[str, dict[str, Any]]) -> None:
    job = templates(documents["RayJob/tlsweep"])
    assert job["gpu"]["spec"]["serviceAccountName"] == "tlsweep-worker"
    assert documents["ServiceAccount/tlsweep-worker"]["automountServiceAccountToken"] is False
    for name in ("gpu", "submitter"):
        assert job[name]["spec"]["automountServiceAccountToken"] is False


def test_a_trial_fits_into_a_worker(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(documents["ConfigMap/tlsweep-spec"]["data"]["spec.yaml"])
    spec = load_spec(str(file))
    worker = templates(documents["RayJob/tlsweep"])["gpu"]["spec"]["containers"][0]["resources"]["limits"]
    assert spec.resources.cpus <= float(worker["cpu"])
    assert float(spec.resources.gpus) <= float(worker["nvidia.com/gpu"])


def test_the_entrypoint_reaches_tlsweep_as_it_is_written(job: dict[str, Any], tmp_path: Path) -> None:
    """As it is run: by the submitter's bash, `ray job submit`, and the shell of Ray's job supervisor."""
    calls = tmp_path / "calls"
    program = tmp_path / "tlsweep"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    program.chmod(0o755)
    submitted = subprocess.list2cmdline(shlex.split(job["spec"]["entrypoint"]))  # ray/dashboard/modules/job/cli.py
    subprocess.run(submitted, shell=True, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    # A second try, on another head, goes on with the sweep that the first one left.
    wanted = "launch /etc/tlsweep/spec.yaml --name digits --or-resume --results s3://bucket/sweeps"
    assert calls.read_text().splitlines() == [wanted]


def test_the_variant_with_a_shared_volume_is_valid_too(job: dict[str, Any], rayjob_schema: dict[str, Any]) -> None:
    claim = (CLUSTER / "shared-volume" / "claim.yaml").read_text(encoding="utf-8")
    kustomization = yaml.safe_load((CLUSTER / "shared-volume" / "kustomization.yaml").read_text(encoding="utf-8"))
    patched = yaml.safe_load(claim)
    assert "ReadWriteMany" in claim
    kubernetes_validate.validate(patched, KUBERNETES[-1], strict=True)
    for operation in yaml.safe_load(kustomization["patches"][0]["patch"]):
        assert operation["op"] == "add"
        *parents, last = re.split("/", operation["path"])[1:]
        at: Any = job
        for name in parents:
            at = at[int(name)] if isinstance(at, list) else at[name]
        assert isinstance(at, list)
        assert last == "-"
        at.append(operation["value"])
    assert complaints(job, rayjob_schema) == []
    for name in ("head", "gpu"):
        kubernetes_validate.validate(pod(templates(job)[name]), KUBERNETES[-1], strict=True)
        spec = templates(job)[name]["spec"]
        assert spec["volumes"][-1]["persistentVolumeClaim"]["claimName"] == patched["metadata"]["name"]
        assert spec["containers"][0]["volumeMounts"][-1]["mountPath"] == "/results"
