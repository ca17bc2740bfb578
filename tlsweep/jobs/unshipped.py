"""What never goes to a cluster: others there can read what is shipped, and some of it is of no use there."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

PRIVATE_KEY = "a private key"
_SECRETS = {
    "variables that programs start with, mostly passwords": ".env* *.env",
    PRIVATE_KEY: (
        "id_rsa* id_dsa* id_ecdsa* id_ed25519* ssh_host_* *.pem *.key *.p8 *.p12 *.pfx *.ppk *.jks *.keystore *.kdbx "
        "*.gpg *.pgp *.ovpn .gnupg .ssh private_key* private-key* deploy_key* secret_key* secret-key*"
    ),
    "a login of a version control or package server": (
        ".git-credentials .gitconfig .netrc _netrc .authinfo* .npmrc .yarnrc* .pypirc .pip pip.conf .gem .cargo .m2 "
        ".condarc .huggingface hf_token* .kaggle kaggle.json"
    ),
    "a login of a cloud or cluster": (
        ".aws .azure .boto .s3cfg .config .gcloud .kube kubeconfig* .docker .dockercfg .dockerconfigjson .oci .ray "
        ".vault* vault_pass* vault-pass* .databrickscfg .snowsql .rclone.conf rclone.conf .terraform* *.tfstate* "
        "*.tfvars service-account* service_account* accesskeys.csv rootkey.csv "
        "application_default_credentials* client_secret*"
    ),
    "a password of a database or web server": ".pgpass .my.cnf .mylogin.cnf .passwd .htpasswd htpasswd .dbt",
    "what was typed, passwords too": ".*_history .histfile .rhistory .lesshst .viminfo",
    "by its name, a secret": (
        "credentials credentials.* *.credentials *_credentials *-credentials *_credentials.* *-credentials.* "
        ".credentials* secret.* secrets secrets.* *.secrets.* *_secrets.* *-secrets.* .secret* token "
        "token.txt token.json token.y*ml *.token .token *_token *_token.txt *-token *-token.txt api_key* "
        "api-key* apikey* password password.* passwords passwords.* .password* passwd passwd.*"
    ),
}
"""Why each is left out: its names, in any case of letters, of a file or of a folder on the way to it."""

_JUNK = {
    "version control": ".git .hg .svn",
    "made again by programs": (
        "__pycache__ *.pyc node_modules .*_cache .tox .nox *.egg-info .ipynb_checkpoints .ds_store"
    ),
}
_CODE = (".py", ".pyi", ".pyx", ".ipynb", ".md", ".rst")
"""Source is what is to be shipped, whatever it is called: `token.py`, `id_mapping.py`."""
_FOLDERS = ("secrets", "credentials")
"""The only names without a dot that say what is in a folder."""


def why_left_out(parts: Sequence[str], *, folder: bool = False) -> str | None:
    """Why a file, or a whole `folder`, is not shipped, by the names on the way to it; None for one that is."""
    names = [name.casefold() for name in parts]
    file = "" if folder else names.pop()
    code = folder or file.endswith(_CODE)
    reasons = (_why(name, plain=name in _FOLDERS and not code) for name in names)
    return next(filter(None, reasons), None) or _why(file, plain=not code)


def holds_private_key(path: Path) -> bool:
    """Whether a file begins as keys are written (RFC 7468, and PuTTY's), whatever it is called."""
    with path.open("rb") as file:
        first = file.read(100).lstrip().partition(b"\n")[0]
    return first.startswith(b"PuTTY-User-Key-File") or (
        first.startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in first
    )


def is_secret(why: str) -> bool:
    """Whether this is a reason that its owner wants to know."""
    return why in _SECRETS


def _why(name: str, *, plain: bool) -> str | None:
    """Say why a name is not shipped; as a secret only if it begins with a dot, or is `plain`."""
    reasons = _JUNK | _SECRETS if plain or name.startswith(".") else _JUNK
    matching = (
        why for why, patterns in reasons.items() if any(fnmatchcase(name, pattern) for pattern in patterns.split())
    )
    return next(matching, None)
