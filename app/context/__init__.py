"""Builds, owns and closes every client, engine and background task; nothing else makes one."""

from app.context.process import ProcessContext, open_context

__all__ = ["ProcessContext", "open_context"]
