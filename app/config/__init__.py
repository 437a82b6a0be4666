"""Every environment variable, with its default, description and checks, in one module per section.
Nothing else reads the environment."""

from app.config.authentication import AuthMode
from app.config.core import Environment
from app.config.problems import ConfigProblem, ConfigurationError
from app.config.reading import examine_settings, load_settings, unknown_variables
from app.config.settings import PARTS, Settings
from app.config.validation import check_choice

__all__ = [
    "PARTS",
    "AuthMode",
    "ConfigProblem",
    "ConfigurationError",
    "Environment",
    "Settings",
    "check_choice",
    "examine_settings",
    "load_settings",
    "unknown_variables",
]
