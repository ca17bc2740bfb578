"""What a job takes along: the spec, the user's own modules or a folder, no junk, no more than Ray takes."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock
from zipfile import ZipFile

import pytest
from builders import make_spec
from command_line import command_line

from tlsweep.cli import submission
from tlsweep.errors import ResourceError, SpecError
from tlsweep.jobs import shipping
from tlsweep.jobs.server import JobServer
from tlsweep.jobs.shipping import SPEC_FILE, gather, pack
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.terminal.shipment import left_behind_lines


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the user's own code, which fails when it is imported."""
    folder = tmp_path / "work"
    for name in ("own_net.py", "pictures/__init__.py", "pictures/flowers/find.py", "pictures/__pycache__/find.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def packed(folder: Path, spec: SweepSpec | None, code: Path | None = None) -> dict[str, bytes]:
    pack(folder / "code.zip", spec, code)
    with ZipFile(folder / "code.zip") as package:
        return {name: package.read(name) for name in package.namelist()}


def test_modules_that_the_spec_names_are_shipped_without_being_imported(tmp_path: Path, here: Path) -> None:
    data = {"source": "python", "function": "pictures.flowers.find:flowers"}
    spec = make_spec(
        data={"source": "digits"},
        model={"name": "own_net:network", "weights": {"data": data}},
    )
    found = packed(tmp_path, spec)
    assert set(found) == {SPEC_FILE, "own_net.py", "pictures/__init__.py", "pictures/flowers/find.py"}
    (tmp_path / SPEC_FILE).write_bytes(found[SPEC_FILE])
    assert load_spec(tmp_path / SPEC_FILE) == spec


def test_installed_modules_are_not_shipped(tmp_path: Path) -> None:
    assert set(packed(tmp_path, make_spec(model={"name": "torchvision.models:resnet18"}, controls=[]))) == {SPEC_FILE}


def test_a_module_that_is_not_here_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="model.name 'absent.nets:tiny': there is no module 'absent'"):
        packed(tmp_path, make_spec(model={"name": "absent.nets:tiny"}, controls=[]))


def test_a_path_that_only_holds_here_is_told_before_anything_is_sent(tmp_path: Path, here: Path) -> None:
    spec = make_spec(data={"source": "folder", "path": "pictures"})
    with pytest.raises(SpecError, match="data.path = 'pictures': a job on a cluster does not start where you are"):
        packed(tmp_path, spec)
    assert SPEC_FILE in packed(tmp_path, spec, code=here)
    table = {"source": "table", "path": "/there/table.csv"}
    assert SPEC_FILE in packed(tmp_path, make_spec(data=table))
    with pytest.raises(SpecError, match="data.root = 'pictures'"):
        packed(tmp_path, make_spec(data={**table, "root": "pictures"}))


@pytest.mark.parametrize("under_git", [True, False])
def test_a_folder_is_shipped_without_junk(tmp_path: Path, here: Path, under_git: bool) -> None:
    junk = [".venv/pyvenv.cfg", ".venv/lib/torch.py", "results/digits/journal.jsonl", ".mypy_cache/x", ".git/config"]
    for name in [*junk, "pictures/results/table.py"]:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("x")
    if under_git:
        (here / ".git/config").unlink()
        (here / ".gitignore").write_text(".venv\nown_net.py\n")
        subprocess.run(["git", "init", "-q", here], check=True)
    expected = {"pictures/__init__.py", "pictures/flowers/find.py", "pictures/results/table.py"}
    expected |= {".gitignore"} if under_git else {"own_net.py"}
    assert set(packed(tmp_path, None, here)) == expected


def test_a_folder_that_is_too_large_is_refused(tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "LIMIT", 1024**2)
    noise = subprocess.run([sys.executable, "-c", "import os; os.write(1, os.urandom(1 << 20))"], capture_output=True)
    (here / "images.bin").write_bytes(noise.stdout * 2)
    with pytest.raises(ResourceError, match=r"4 files with 2 MB, the largest is 'images.bin'; packed, Ray takes 1 MB"):
        packed(tmp_path, None, here)
    with pytest.raises(ResourceError, match="there is no such folder"):
        packed(tmp_path, None, here / "absent")


SECRETS = [
    ".env", ".env.production", "prod.env", "id_rsa", "ID_ED25519", "id_rsa.pub", "server.pem", "Server.KEY", "cert.p12",
    "cert.PFX", "my.keystore", ".git-credentials", ".netrc", ".npmrc", ".pypirc", ".kube/config", ".docker/config.json",
    ".AWS/credentials", ".azure/token.json", ".gnupg/private.kbx", ".ssh/known_hosts", ".config/gcloud/access.db",
    "credentials", "Credentials.json", "service-account-1.json", "service_account.json", ".huggingface/token", "token",
    ".ray/auth_token", "pictures/.env", "pictures/secrets/database_password", "deep/down/.kube/config",
    ".bash_history", ".mysql_history", ".vault_pass", "vault_pass.txt", "terraform.tfstate", ".mylogin.cnf", "work.ppk",
    "hf_token.txt", "github_token", "api_keys.json", "aws_credentials", "app-secrets.yaml", "prod.secrets.json",
    "private_key.txt", "deploy_key", "ssh_host_rsa_key", "rclone.conf", ".pip/pip.conf", ".databrickscfg", "passwd.txt",
]  # fmt: skip
CODE = ["token.py", "id_mapping.py", "secrets/__init__.py", "tokenizer.json", "environment.yaml", "keys.txt", "idea.md",
        "id_map.csv", "id_card.png", "token.pt", "tokens.json", "cls_token.npy", "credentials_test.csv",
        "password_strength.csv", "model.key.json", "api_key.py", "id_photos/a.txt"]  # fmt: skip


@pytest.mark.parametrize("how", ["a folder", "a folder under git", "a package that the spec names"])
def test_secrets_are_never_shipped_and_code_that_is_called_like_them_is(tmp_path: Path, here: Path, how: str) -> None:
    root = here / "pictures" if how.startswith("a package") else here
    for name in [*SECRETS, *CODE]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    if how.endswith("git"):
        subprocess.run(["git", "init", "-q", here], check=True)
        subprocess.run(["git", "-C", here, "add", "--force", "."], check=True)
    spec = make_spec(data={"source": "python", "function": "pictures:flowers"})
    shipment = pack(tmp_path / "code.zip", spec, None if root != here else here)
    with ZipFile(tmp_path / "code.zip") as package:
        names = {name.removeprefix("pictures/") if root != here else name for name in package.namelist()}
    assert not names & set(SECRETS)
    assert set(CODE) <= names
    at = {Path(name).parts for name in shipment.left_out}
    inside = [Path("pictures", name) if root != here else Path(name) for name in SECRETS]
    assert [path for path in inside if not any(path.parts[: len(one)] == one for one in at)] == []
    assert set(shipment.secrets) <= set(shipment.left_out)


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PuTTY", "none"])
@pytest.mark.parametrize("name", ["id_work", "deploy", "notes.txt"])
def test_a_private_key_stays_here_whatever_it_is_called(tmp_path: Path, here: Path, name: str, kind: str) -> None:
    heads = {"PuTTY": "PuTTY-User-Key-File-3: ssh-ed25519", "none": "how to make a -----BEGIN PRIVATE KEY-----"}
    (here / name).write_text(heads.get(kind, f"-----BEGIN {kind}-----") + "\nMC4CAQ\n")
    shipment = pack(tmp_path / "code.zip", None, here)
    assert (name in shipment.secrets, name in shipment.files) == (kind != "none", kind == "none")


def test_a_repository_within_is_named_and_so_is_the_way_to_ship_what_is_no_secret(tmp_path: Path, here: Path) -> None:
    subprocess.run(["git", "init", "-q", here], check=True)
    (here / "nets").mkdir()
    subprocess.run(["git", "init", "-q", here / "nets"], check=True)
    (here / "nets" / "net.py").write_text("x")
    commit = ["git", "-C", str(here / "nets"), "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*commit, "add", "."], check=True)
    subprocess.run([*commit, "commit", "-q", "-m", "x"], check=True)
    (here / "token.txt").write_text("x")
    assert left_behind_lines(pack(tmp_path / "code.zip", None, here)) == [
        "not shipped, as others on the cluster could read them: token.txt; --dry-run lists what goes; one that is no "
        "secret goes under another name",
        "not shipped, as git keeps it in a repository of its own: nets; put a copy of what the job needs into its "
        "place",
    ]


def test_who_submits_is_told_what_stays_here(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Server(JobServer):
        def __init__(self, url: str) -> None:
            self.url, self.client = url, Mock()

        def python(self) -> str:
            return "python"

    monkeypatch.setattr(submission, "job_server", Server)
    (here / ".env").write_text("x")
    job = submission.Submission("http://h:8265", None, (), results="/r", code=here, quiet=True)
    submission.hand_in(job, detach=True, dry_run=False)
    told = capsys.readouterr()
    assert told.err.startswith("not shipped, as others on the cluster could read them: .env;")
    assert told.out.startswith("submitted tlsweep-")


@pytest.mark.parametrize("under_git", [True, False])
@pytest.mark.parametrize("link", ["away.py", "pictures/away", "pictures/flowers/up"])
def test_a_link_out_of_the_folder_is_refused_before_anything_is_sent(
    tmp_path: Path, here: Path, link: str, under_git: bool
) -> None:
    target = tmp_path / "private"
    target.mkdir()
    (target / "diary").write_text("mine")
    (here / link).symlink_to({"away.py": target / "diary", "pictures/away": target}.get(link, "../../.."))
    if under_git:
        subprocess.run(["git", "init", "-q", here], check=True)
    with pytest.raises(ResourceError, match=rf"{link}' is a link to '{tmp_path}.*', out of the folder") as error:
        pack(tmp_path / "code.zip", None, here)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "code.zip").exists()
    if link.startswith("pictures"):
        spec = make_spec(data={"source": "python", "function": "pictures:flowers"})
        with pytest.raises(ResourceError, match="out of the folder"):
            pack(tmp_path / "code.zip", spec, None)


def test_links_inside_are_shipped_as_what_they_are_and_loops_end(tmp_path: Path, here: Path) -> None:
    (here / ".env").write_text("PASSWORD=x")
    links = {"same.py": "own_net.py", "latest": "pictures/flowers", "pictures/here": ".", "pictures/flowers/up": "..",
             "config": ".env", "nothing": "absent", "self": "self"}  # fmt: skip
    for name, target in links.items():
        (here / name).symlink_to(target)
    found = packed(tmp_path, None, here)
    assert set(found) == {
        "own_net.py", "same.py", "pictures/__init__.py", "pictures/flowers/find.py", "latest/find.py",
    }  # fmt: skip
    assert found["same.py"] == found["own_net.py"]
    left_out = gather(None, here).left_out
    assert {"pictures/here", "pictures/flowers/up", "latest/up", "config", "nothing", "self", ".env"} <= set(left_out)


def test_what_is_no_file_is_left_out(tmp_path: Path, here: Path) -> None:
    os.mkfifo(here / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(here)
        server.bind("socket")
        found = packed(tmp_path, None, here)
    assert set(found) == {"own_net.py", "pictures/__init__.py", "pictures/flowers/find.py"}


def test_what_cannot_be_packed_is_one_line(tmp_path: Path, here: Path) -> None:
    Path(os.fsdecode(os.fsencode(here) + b"/ch\xeane.py")).touch()
    with pytest.raises(ResourceError, match=r"ch\\xeane.py' cannot be shipped: its name is no UTF-8"):
        packed(tmp_path, None, here)


def test_a_dry_run_lists_what_goes_and_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "own_net.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / ".env").write_text("PASSWORD=x")
    with command_line(tmp_path) as tlsweep, socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        told = tlsweep.run("submit", "digits", url, "--results", "/shared", "--code", ".", "--dry-run")
        nobody.settimeout(0)
        with pytest.raises(BlockingIOError):
            nobody.accept()
        without = tlsweep.run("launch", "digits", "--dry-run")
    lines = [line.split(maxsplit=2) for line in told.out.splitlines()]
    assert (told.code, told.err) == (0, "")
    assert ["31", "B", "own_net.py"] in lines
    assert any(line[2:] == [SPEC_FILE] for line in lines)
    assert ".env: variables that programs start with, mostly passwords" in told.out
    assert "PASSWORD" not in told.out
    assert (without.code, without.out) == (2, "")
    assert without.err.startswith(
        "error: --detach, --dry-run and --code say how a job is submitted; write tlsweep submit"
    )
