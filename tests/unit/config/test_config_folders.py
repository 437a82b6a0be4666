"""The files of the gateway lie apart from the files that sources and workers read."""

import sys
from pathlib import Path

import pytest

from app.config import ConfigurationError, Settings, check_choice


def settings_of(tmp_path: Path, **given: object) -> Settings:
    given = {"asgard_home": tmp_path / "project" / ".asgard", **given}
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "allowed",
    [
        "/",
        "project",
        "project/.asgard",
        "project/.asgard/secrets",
        "project/.asgard/data/..",
        "link",
    ],
)
def test_an_allowed_directory_that_shows_the_home_is_refused(tmp_path: Path, allowed: str) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "project")
    settings = settings_of(tmp_path, ingestion_allowed_dirs=str(tmp_path / allowed))
    with pytest.raises(ConfigurationError, match=r"may read .* \(ASGARD_HOME\)"):
        check_choice(settings)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("AUTH_KEYS_FILE", "files/keys.json"),
        ("AUTH_API_KEY_FILE", "files/deep/api-key"),
        ("DBT_PROJECT_DIR", "files/dbt"),
        ("DBT_PROFILES_DIR", "files"),
        ("AUTH_KEYS_FILE", "project/.asgard/data/keys.json"),
    ],
)
def test_an_allowed_directory_that_shows_other_files_of_the_gateway_is_refused(
    tmp_path: Path, name: str, path: str
) -> None:
    given = {name.lower(): tmp_path / path, "ingestion_allowed_dirs": str(tmp_path / "files")}
    with pytest.raises(ConfigurationError, match=rf"may read .* \({name}\)"):
        check_choice(settings_of(tmp_path, **given))


@pytest.mark.parametrize("allowed", ["project/.asgard/data", "project/.asgard/data/in", "other"])
def test_other_directories_are_allowed(tmp_path: Path, allowed: str) -> None:
    check_choice(settings_of(tmp_path, ingestion_allowed_dirs=str(tmp_path / allowed)))


@pytest.mark.parametrize("name", ["ASGARD_HOME", "AUTH_KEYS_FILE", "DBT_PROFILES_DIR"])
@pytest.mark.parametrize("folder", ["/usr/share", f"{sys.prefix}/lib", f"{sys.base_prefix}/bin"])
def test_a_path_that_sandboxed_workers_read_is_refused(
    tmp_path: Path, name: str, folder: str
) -> None:
    settings = settings_of(tmp_path, **{name.lower(): Path(folder) / "asgard"})
    with pytest.raises(ConfigurationError, match=rf"{name} is .*: sandboxed workers can read"):
        check_choice(settings)


def test_the_folder_of_a_venv_itself_is_allowed(tmp_path: Path) -> None:
    check_choice(settings_of(tmp_path, asgard_home=Path(sys.prefix) / ".asgard"))
