"""cluster/aws.yaml and gcp.yaml: Ray takes them; what they promise of nodes, rights and networks is what is asked for.

AWS's part of `ray up` runs for real against moto, a stand-in for the service; of Google's there is none, so its node
configurations are held against the schema of the Compute API that comes with Google's client.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import googleapiclient
import jsonschema
import pytest
from manifests import CLUSTER, filled, marks
from moto import mock_aws
from ray.autoscaler._private.util import prepare_config, validate_config

REGION = "us-east-1"
VALUES = {
    "aws.yaml": {
        "YOUR_REGION": REGION,
        "YOUR_IMAGE": "ami-0123456789abcdef0",
        "YOUR_SECURITY_GROUP": "sg-0123456789abcdef0",
    },
    "gcp.yaml": {"YOUR_PROJECT": "my-project"},
}


def config(file: str, **values: str) -> dict[str, Any]:
    (found,) = filled(file, **(VALUES[file] | values))
    return found


@pytest.mark.parametrize("file", VALUES)
def test_ray_takes_the_file(file: str) -> None:
    validate_config(prepare_config(config(file)))


@pytest.mark.parametrize("file", VALUES)
def test_ray_would_refuse_an_unknown_field(file: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config(file) | {"idle_timeout": 1}))


@pytest.mark.parametrize("file", VALUES)
def test_every_node_asks_for_the_token_and_the_dashboard_stays_on_loopback(file: str) -> None:
    found = config(file)
    (head,), (worker,) = found["head_start_ray_commands"], found["worker_start_ray_commands"]
    for command in (head, worker):
        assert "RAY_AUTH_MODE=token" in command
    assert "--dashboard-host=127.0.0.1" in head
    assert found["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    sources = [Path(local) for local in found["file_mounts"].values() if not local.startswith("~")]
    assert sources
    assert all((CLUSTER.parent / source).exists() for source in sources)


@pytest.mark.parametrize("file", [*VALUES, "onprem.yaml"])
def test_every_command_is_whole(file: str) -> None:
    """A '#' after a space ends a YAML scalar, in the middle of a shell's quotes too."""
    (found,) = filled(file, **dict.fromkeys(marks(file), "10.0.0.1"))
    commands = [command for name, some in found.items() if name.endswith("_commands") for command in some]
    assert len(commands) >= 5
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("file", VALUES)
def test_the_head_has_no_trials_and_workers_are_spot(file: str) -> None:
    types = config(file)["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["worker"]["resources"]["GPU"] == 1
    assert "spot" not in json.dumps(types["head"]).lower()
    assert "spot" in json.dumps(types["worker"]).lower()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """aws.yaml as `ray up` sees it, on an account that `aws-setup.sh` has set up."""
    monkeypatch.setenv("HOME", str(tmp_path))  # `ray up` writes an ssh key
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        ec2, iam = boto3.client("ec2", REGION), boto3.client("iam", REGION)
        for name, policy in policies().items():
            iam.create_instance_profile(InstanceProfileName=name)
            iam.create_role(
                RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []})
            )
            iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="tlsweep", Description="tlsweep", VpcId=network)["GroupId"]
        image = ec2.describe_images()["Images"][0]["ImageId"]
        yield config("aws.yaml", YOUR_SECURITY_GROUP=group, YOUR_IMAGE=image)


def policies() -> dict[str, Any]:
    """The rights that `aws-setup.sh` gives to head and workers."""
    found = {}
    for part in (CLUSTER / "aws-setup.sh").read_text(encoding="utf-8").split("cat > ")[1:]:
        name, _, rest = part.partition(".json <<EOF\n")
        filled_in = rest.partition("\nEOF\n")[0]
        for variable, value in {"$BUCKET": "bucket", "$ACCOUNT": "123456789012", "$REGION": REGION}.items():
            filled_in = filled_in.replace(variable, value)
        assert "$" not in filled_in
        found[name] = json.loads(filled_in)
    assert found.keys() == {"tlsweep-head", "tlsweep-worker"}
    return found


def test_aws_starts_the_nodes_that_are_promised(aws: dict[str, Any]) -> None:
    """Ray's own bootstrap and its node provider: all but the machines themselves."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.commands import _bootstrap_config

    ready = _bootstrap_config(aws, no_config_cache=True)
    provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
    for name, kind in ready["available_node_types"].items():
        provider.create_node(kind["node_config"], {"ray-user-node-type": name}, 1)
    ec2 = boto3.client("ec2", REGION)
    nodes = [one for reservation in ec2.describe_instances()["Reservations"] for one in reservation["Instances"]]
    head, worker = sorted(nodes, key=lambda one: one["InstanceType"], reverse=True)
    (group,) = aws["available_node_types"]["head"]["node_config"]["SecurityGroupIds"]
    for node, profile in ((head, "tlsweep-head"), (worker, "tlsweep-worker")):
        assert node["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
        assert [one["GroupId"] for one in node["SecurityGroups"]] == [group]
        assert node["MetadataOptions"]["HttpTokens"] == "required"
    assert "InstanceLifecycle" not in head
    assert worker["InstanceLifecycle"] == "spot"
    names = {one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]}
    assert names == {"default", "tlsweep"}  # Ray's own would let everybody in by ssh


def test_aws_has_the_resources_that_are_promised(aws: dict[str, Any]) -> None:
    """What Ray would fill in from AWS's list of instance types."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    promised = {name: kind.pop("resources") for name, kind in aws["available_node_types"].items()}
    found = AWSNodeProvider.fillout_available_node_types_resources(aws)["available_node_types"]
    assert {name: found["worker"]["resources"][name] for name in promised["worker"]} == promised["worker"]
    assert "GPU" not in found["head"]["resources"]


def test_aws_workers_may_do_nothing_but_write_results() -> None:
    rights = {
        name: {a for one in policy["Statement"] for a in as_list(one["Action"])} for name, policy in policies().items()
    }
    assert {action.partition(":")[0] for action in rights["tlsweep-worker"]} == {"s3"}
    assert rights["tlsweep-worker"] < rights["tlsweep-head"]
    assert not any("*" in action for actions in rights.values() for action in actions)


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_google_knows_every_field_of_a_node() -> None:
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    document = json.loads((folder / "compute.v1.json").read_text(encoding="utf-8"))
    schemas = {name: closed(schema) for name, schema in document["schemas"].items()}
    instance = jsonschema.Draft202012Validator({"$ref": "#/$defs/Instance", "$defs": schemas})
    for kind in config("gcp.yaml")["available_node_types"].values():
        instance.validate(kind["node_config"])
        assert not instance.is_valid(kind["node_config"] | {"scheduling": {"preemtible": True}})


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of Google's discovery format as JSON Schema, without room for unknown fields."""
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    made = {name: schema[name] for name in ("type", "enum") if name in schema and schema[name] != "any"}
    for name in ("items", "additionalProperties"):
        if name in schema:
            made[name] = closed(schema[name])
    if "properties" in schema:
        made["properties"] = {name: closed(one) for name, one in schema["properties"].items()}
        made.setdefault("additionalProperties", False)
    return made
