"""Checks that the gateway's own files lie apart from the files that workers and sources read."""

from collections.abc import Iterator
from pathlib import Path

from app.config.problems import ConfigProblem
from app.config.settings import Settings
from app.sandbox.policy import readable


def folder_faults(settings: Settings) -> Iterator[ConfigProblem]:
    """Links are resolved. Paths that do not exist yet count, too."""
    yield from _shown_to_workers(settings)
    if not settings.airbyte_base_url:
        yield from _shown_to_sources(settings)


def _shown_to_workers(settings: Settings) -> Iterator[ConfigProblem]:
    folders = [Path(path).resolve() for path in readable()]
    for name, path in _private(settings):
        shown = [folder for folder in folders if path.resolve().is_relative_to(folder)]
        if shown:
            yield ConfigProblem(
                (name,),
                f"{name} is {path}, which is inside {shown[0]}: sandboxed workers can read it.",
                "Choose a path that contains neither programs nor libraries.",
            )


def _shown_to_sources(settings: Settings) -> Iterator[ConfigProblem]:
    data = settings.home / "data"
    for directory in (*settings.ingestion_allowed_dirs, data):
        for name, path in _private(settings):
            inside = None if name != "ASGARD_HOME" else data
            if _shows(directory, path, inside):
                yield ConfigProblem(
                    ("INGESTION_ALLOWED_DIRS", name),
                    f"File sources may read {directory}, which would expose the files in {path} "
                    f"({name}).",
                    "In INGESTION_ALLOWED_DIRS, name directories that contain only source files.",
                )
                break


def _private(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield what only the gateway may read, each with the variable that names it."""
    yield "ASGARD_HOME", settings.home
    yield "AUTH_KEYS_FILE", settings.keys_file
    if settings.auth_api_key_file:
        yield "AUTH_API_KEY_FILE", settings.auth_api_key_file.expanduser().absolute()
    yield "DBT_PROJECT_DIR", settings.project_dir
    yield "DBT_PROFILES_DIR", settings.profiles_dir


def _shows(directory: Path, private: Path, public: Path | None) -> bool:
    """Return whether `directory` shows something of `private` that is not below `public`."""
    shown = directory.resolve()
    if private.resolve().is_relative_to(shown):
        return True
    if public is not None and shown.is_relative_to(public.resolve()):
        return False
    return shown.is_relative_to(private.resolve())
