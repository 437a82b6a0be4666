"""What another user of the machine can prepare in the folder of the dbt project."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from app.config import ConfigurationError
from app.lakehouse.connection import CatalogConnection, Lake, S3Connection
from app.sql.client import SqlGuardClient
from app.sql.model import SqlPolicy
from app.warehouse.dbt import own_folder
from app.warehouse.dbt.project import DbtProject
from app.warehouse.trino.connection import TrinoConnection
from app.warehouse.trino.dbt_project import TrinoTarget

LAKE = Lake(
    S3Connection(None, "us-east-1", "the-key", "the-secret", "lake"),
    CatalogConnection("http://127.0.0.1:2", "warehouse"),
)
TARGET = TrinoTarget(TrinoConnection("trino.example.com", 8080, "dbt", "iceberg", "gold"))
OTHER_USER = 12_345
PRECIOUS = "of the victim"
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


def project_in(folder: Path) -> DbtProject:
    guard = SqlGuardClient(SqlPolicy(), log_path=folder.parent / "guard.log")
    return DbtProject(
        lake=LAKE, target=TARGET, sql_guard=guard, project_dir=folder, profiles_dir=folder
    )


async def opened(folder: Path) -> None:
    project = project_in(folder)
    await project.open()
    await project.close()


async def written(folder: Path) -> None:
    (folder / ".asgard").touch()
    await project_in(folder).write()


async def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "dbt").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigurationError, match=r"DBT_PROJECT_DIR: .* is a link"):
        await opened(tmp_path / "dbt")
    assert list((tmp_path / "victim").iterdir()) == []


@as_root
async def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dbt").mkdir(mode=0o777)
    os.chown(tmp_path / "dbt", OTHER_USER, OTHER_USER)
    with pytest.raises(ConfigurationError, match=r"DBT_PROJECT_DIR: .* belongs to another user"):
        await opened(tmp_path / "dbt")
    assert list((tmp_path / "dbt").iterdir()) == []


async def test_profiles_that_every_user_can_change_are_refused(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    profiles.chmod(0o777)
    project = DbtProject(
        lake=LAKE,
        target=TARGET,
        sql_guard=SqlGuardClient(SqlPolicy(), log_path=tmp_path / "guard.log"),
        project_dir=tmp_path / "dbt",
        profiles_dir=profiles,
    )
    with pytest.raises(ConfigurationError, match=r"DBT_PROFILES_DIR: .* written by every user"):
        await project.open()


@as_root
def test_a_mounted_volume_of_root_is_accepted() -> None:
    """Kubernetes mounts an emptyDir with mode 0777, here beside a folder of the same mode."""
    parent = Path(tempfile.mkdtemp())
    try:
        parent.chmod(0o755)
        for name in ("source", "volume", "beside"):
            (parent / name).mkdir()
            (parent / name).chmod(0o777)
        mounted = subprocess.run(
            ["mount", "--bind", parent / "source", parent / "volume"],
            check=False,
            capture_output=True,
        )
        if mounted.returncode:
            pytest.skip("this system does not let the tests mount")
        accepted = [accepted_by_another_user(parent / name) for name in ("volume", "beside")]
        subprocess.run(["umount", parent / "volume"], check=True)
        assert accepted == [True, False]
    finally:
        shutil.rmtree(parent)


def accepted_by_another_user(folder: Path) -> bool:
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)
        try:
            own_folder.make_folder(folder, private=True)
            own_folder.write_file(folder, "models/a.sql", "select 1")
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


async def test_the_folder_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt").chmod(0o775)
    await opened(tmp_path / "dbt")
    assert (tmp_path / "dbt").stat().st_mode & 0o777 == 0o700


async def test_models_of_a_linked_folder_stay(tmp_path: Path) -> None:
    folder, victim = tmp_path / "dbt", tmp_path / "victim"
    folder.mkdir()
    victim.mkdir()
    (victim / "report.sql").write_text(PRECIOUS)
    (folder / "models").symlink_to(victim)
    with pytest.raises(OSError, match="models is a link"):
        await written(folder)
    assert [(path.name, path.read_text()) for path in victim.iterdir()] == [
        ("report.sql", PRECIOUS)
    ]


async def test_links_below_the_models_are_not_followed(tmp_path: Path) -> None:
    folder, victim = tmp_path / "dbt", tmp_path / "victim"
    (folder / "models" / "gold").mkdir(parents=True)
    victim.mkdir()
    (victim / "report.sql").write_text(PRECIOUS)
    (folder / "models" / "old").symlink_to(victim)
    (folder / "models" / "gold" / "link.sql").symlink_to(victim / "report.sql")
    (folder / "models" / "gold" / "removed.sql").write_text("select 1")
    await written(folder)
    assert (victim / "report.sql").read_text() == PRECIOUS
    assert [path.name for path in folder.glob("models/gold/*.sql")] == []


@pytest.mark.parametrize("name", ["README.md", ".README.md.PID.tmp"])
async def test_a_link_in_place_of_a_file_is_replaced(tmp_path: Path, name: str) -> None:
    folder, important = tmp_path / "dbt", tmp_path / "important.conf"
    folder.mkdir()
    important.write_text(PRECIOUS)
    (folder / name.replace("PID", str(os.getpid()))).symlink_to(important)
    await written(folder)
    assert important.read_text() == PRECIOUS
    assert (folder / "README.md").read_text() == TARGET.readme
    assert not (folder / "README.md").is_symlink()
