"""Files of sources lie apart from the files of the gateway, links included."""

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
