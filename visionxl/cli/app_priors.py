"""The priors that the app offers: each is loaded when it is first chosen, and kept."""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path

from visionxl.cli.priors import check_source, prior_named
from visionxl.errors import InputError
from visionxl.priors.network import NetworkPrior

Loaders = Mapping[str, Callable[[], NetworkPrior]]


def offered(sources: Iterable[str], device: str, dtype: str) -> Loaders:
    """What loads each prior, once, by the name that the page shows.

    Raises:
        InputError: a source is neither ``pocket``, nor a folder, nor like a hub id.
    """
    return {
        name: cache(partial(prior_named, source, device, dtype))
        for name, source in named(sources).items()
    }


def named(sources: Iterable[str]) -> dict[str, str]:
    """The sources by the names that the page shows: of a folder its last part, and no path."""
    names: dict[str, str] = {}
    for source in dict.fromkeys(sources):
        check_source(source)
        plain = Path(source).resolve().name if Path(source).is_dir() else source
        name, number = plain, 1
        while name in names:
            number += 1
            name = f"{plain} ({number})"
        names[name] = source
    return names


def chosen(priors: Loaders, name: str) -> NetworkPrior:
    """The prior of that name.

    Raises:
        InputError: there is none, or it cannot be loaded. The sentence has no folder in it: it is
            for the page.
    """
    if name not in priors:
        raise InputError(f"prior {name!r} is not offered: choose one of {', '.join(priors)}")
    try:
        return priors[name]()
    except InputError as error:
        print(f"prior {name!r}: {error}", file=sys.stderr, flush=True)
        raise InputError(
            f"prior {name!r} cannot be loaded: the terminal where visionxl app runs says why"
        ) from None
