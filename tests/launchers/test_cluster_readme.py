"""cluster/README.md leads somewhere: no field, file or section is left to guess, and no file holds a secret."""

import re
from pathlib import Path

import pytest
from manifests import CLUSTER, MARK, README, code_blocks, marks

FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file())


def test_every_field_to_fill_in_is_filled_in_by_a_command() -> None:
    text = README.read_text(encoding="utf-8")
    for file in ("onprem.yaml", "kuberay.yaml", "aws.yaml", "gcp.yaml"):
        (command,) = re.findall(rf'^sed "(.*)" (?:\\\n *)?cluster/{re.escape(file)} ', text, re.MULTILINE)
        assert set(MARK.findall(command)) == marks(file)
        assert marks(file)


@pytest.mark.parametrize("section", ["Kubernetes: `kuberay.yaml`", "AWS", "Google Cloud", "The image"])
def test_every_variable_of_a_command_is_set_before(section: str) -> None:
    known = {"IMAGE"} if section.startswith("Kubernetes") else set()
    for language, text in code_blocks(section):
        if language == "sh":
            for line in text.splitlines():
                known |= set(re.findall(r"\b([A-Z]+)=", line)) | set(re.findall(r"\bfor ([A-Z]+) in", line))
                assert set(re.findall(r"\$([A-Z]+)", line)) <= known, line


def test_every_file_has_its_line() -> None:
    text = README.read_text(encoding="utf-8")
    for path in FILES:
        name = path.relative_to(CLUSTER).parts[0]
        assert path == README or f"`{name}`" in text or f"`{name}/`" in text, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"AKIA[0-9A-Z]{16}|-----BEGIN|(?i:secret_access_key|password|auth_token)\s*[:=]\s*[\"']?\w{8}", text
    )
