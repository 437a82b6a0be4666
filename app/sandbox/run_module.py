"""`python run_module.py -m app.…`: runs a module of `app` in a child that can read only `app`.

Python finds a package by listing its parent folder, which a sandboxed child may not do.
"""

import importlib.util
import runpy
import sys
from pathlib import Path

APP = Path(__file__).resolve().parents[1]


def main() -> None:
    # Python puts the folder of this file there.
    del sys.path[0]
    load_app()
    module = sys.argv[2]
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def load_app() -> None:
    """Register the package `app` without searching for it."""
    spec = importlib.util.spec_from_file_location(
        "app", APP / "__init__.py", submodule_search_locations=[str(APP)]
    )
    if spec is None or spec.loader is None:
        sys.exit(f"{APP} is not a Python package")
    package = importlib.util.module_from_spec(spec)
    sys.modules["app"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main()
