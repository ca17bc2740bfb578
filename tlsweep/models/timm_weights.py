"""Weights for networks of timm: those of its hub by their tags, and anybody's on the hub; fetched once, then kept."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tlsweep.errors import ModelError
from tlsweep.models.statistics import Statistics, statistics_as_given
from tlsweep.models.timm_networks import INSTALL, is_timm, timm_name
from tlsweep.spec import ModelSpec
from tlsweep.spec.model import TIMM
from tlsweep.text import in_words, one_line

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

HUB: Final = "hf-hub:"
"""What weights begin with that are anybody's on the hub: hf-hub:owner/name, or hf-hub:owner/name@revision."""
_FILES = ("model.safetensors", "pytorch_model.bin")
_MOST_BYTES = 2**20
_WAY = "give model.weights the path of a .pth or .safetensors file instead"


@dataclass(frozen=True)
class Fetched:
    """A file of weights from elsewhere."""

    path: Path
    origin: str
    """Their origin, for people."""
    statistics: Statistics | None
    """How images were normalised when they were trained; None where that is not said."""


def timm_statistics(settings: "PretrainedCfg", reason: str) -> Statistics | None:
    """How images were normalised, as timm says of weights."""
    return statistics_as_given(settings.mean, settings.std, reason)


def fetch_tagged(name: str, settings: "PretrainedCfg") -> Fetched:
    """The weights of one of timm's tags, from the hub or where else timm has them from.

    Raises:
        ModelError: they cannot be fetched, or are no tensors of PyTorch.
    """
    origin = f"timm {timm_name(name)}.{settings.tag}"
    if settings.hf_hub_id:
        only = (settings.hf_hub_filename,) if settings.hf_hub_filename else _FILES
        path = _from_hub(settings.hf_hub_id, only, origin)
    else:
        path = _from_address(str(settings.url), origin)
    if path.suffix == ".npz":
        raise ModelError(f"the weights {origin} are arrays of JAX ({path.name}); name other ones, or {_WAY}")
    return Fetched(path, origin, timm_statistics(settings, f"as timm says of {origin.removeprefix('timm ')}"))


def fetch_from_hub(model: ModelSpec, wanted: str) -> Fetched:
    """The weights that somebody put on the hub, as timm's `push_to_hf_hub` does; `config.json` says what they are of.

    Raises:
        ModelError: they cannot be fetched, or are of another network.
    """
    place = wanted.removeprefix(HUB)
    config = _config(model, wanted)
    made_with = config.get("model_args") or {}
    settings = hub_settings(model, wanted)
    origin = f"{one_line(wanted)}{f', made with model.args: {made_with}' if made_with else ''}"
    reason = f"as the config.json of {one_line(wanted)} says"
    statistics = statistics_as_given(settings.get("mean"), settings.get("std"), reason)
    return Fetched(_from_hub(place, _FILES, wanted), origin, statistics)


def hub_settings(model: ModelSpec, wanted: str) -> Mapping[str, Any]:
    """What the `config.json` on the hub says of how its weights were trained, by timm's names (PretrainedCfg).

    Raises:
        ModelError: it cannot be fetched, or is of another network.
    """
    config = _config(model, wanted)
    # Older files have one level less.
    found: Mapping[str, Any] = config.get("pretrained_cfg") or config
    return found


def _config(model: ModelSpec, wanted: str) -> Mapping[str, Any]:
    place = wanted.removeprefix(HUB)
    if not is_timm(model.name):
        raise ModelError(
            f"model.weights {one_line(wanted)} are for a network of timm, and model.name is {model.name}; write "
            f"model.name: {TIMM}…, or {_WAY}"
        )
    if place.count("/") != 1 or not all(place.partition("@")[0].split("/")):
        raise ModelError(f"model.weights '{one_line(wanted)}' is not of the form {HUB}owner/name")
    config = _read_config(_from_hub(place, ("config.json",), wanted), wanted)
    said, name = config.get("architecture"), model.name.removeprefix(TIMM)
    if said is not None and said != name:
        raise ModelError(
            f"model.weights {one_line(wanted)} are of {TIMM}{one_line(str(said))}, and model.name is {model.name}; "
            "one of them has to be the other's"
        )
    return config


def _read_config(path: Path, wanted: str) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not isinstance(config.get("pretrained_cfg", {}), dict):
            raise ValueError("it is no mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"the config.json of {one_line(wanted)} cannot be read: {one_line(str(error))}") from None
    return config


def _from_hub(place: str, names: tuple[str, ...], wanted: str) -> Path:
    """The first of these files that is there, fetched or as it was kept."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise ModelError(f"{wanted}: huggingface_hub cannot be imported ({error}); install it: {INSTALL}") from None
    owner_and_name, _, revision = place.partition("@")
    with _quietly():
        for name in names:
            try:
                return Path(hf_hub_download(owner_and_name, name, revision=revision or None))
            except LocalEntryNotFoundError as error:  # neither on the hub, which does not answer, nor here
                raise _not_fetched(wanted, f"the hub {owner_and_name}", error) from None
            except EntryNotFoundError:
                continue
            # Whatever the HTTP client raises, which has changed (requests, httpx); and no such repository.
            except Exception as error:
                raise _not_fetched(wanted, f"the hub {owner_and_name}", error) from None
    raise ModelError(f"{one_line(wanted)} has no {' or '.join(names)} on the hub; {_WAY}")


def _from_address(url: str, origin: str) -> Path:
    from timm.models._hub import download_cached_file

    try:
        return Path(download_cached_file(url, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise _not_fetched(origin, url, error) from error


def _not_fetched(wanted: str, where: str, error: Exception) -> ModelError:
    reason = one_line(in_words(error) if isinstance(error, OSError) else (str(error).splitlines() or ["?"])[0])
    return ModelError(
        f"the weights {one_line(wanted)} could not be fetched from {where} ({reason}); fetch them once where there is "
        f"a network (they are kept), or {_WAY}"
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without a bar for each file and a line for each of five tries, which would run over what is shown."""
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        log.setLevel(before)
        enable_progress_bars()
