"""Creates, owns and closes every client, engine and background task. Nothing else creates one."""

from app.context.process import ProcessContext, open_context

__all__ = ["ProcessContext", "open_context"]
