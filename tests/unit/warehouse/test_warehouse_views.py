import pytest

from app.errors import SqlInvalid
from app.warehouse.views import refuse_cycles

LEVELS, WIDTH = 10, 12


def lattice() -> dict[str, tuple[str, ...]]:
    """Return views in levels, each of which reads all views of the level below: 12^9 paths."""
    return {
        f"gold.v{level}_{number}": tuple(f"gold.v{level - 1}_{below}" for below in range(WIDTH))
        for level in range(1, LEVELS)
        for number in range(WIDTH)
    }


def test_each_view_is_followed_once_whatever_the_number_of_paths() -> None:
    refuse_cycles(lattice(), None, [f"gold.v{LEVELS - 1}_0"])


def test_a_circle_below_many_paths_is_found() -> None:
    reads = lattice() | {"gold.v0_3": ("gold.v5_5",)}
    with pytest.raises(SqlInvalid, match="A view would read itself: "):
        refuse_cycles(reads, None, [f"gold.v{LEVELS - 1}_0"])


def test_the_view_to_be_built_is_found_below_many_paths() -> None:
    with pytest.raises(SqlInvalid, match=r"→ gold\.v0_3"):
        refuse_cycles(lattice(), "gold.v0_3", [f"gold.v{LEVELS - 1}_0"])
