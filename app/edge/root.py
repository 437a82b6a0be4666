"""Answers `/`: a browser is led to the documentation, a program to the addresses it may need."""

from fastapi import Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

VARIES = {"Vary": "Accept"}


class Root(BaseModel):
    name: str = Field("Asgard", description="Name of the service.")
    version: str = Field(description="Version of Asgard.")
    api: str = Field(description="Base path of the API.")
    documentation: str = Field("/docs", description="Swagger UI.")
    openapi: str = Field("/openapi.json", description="The OpenAPI document.")
    problems: str = Field("/problems", description="The kinds of errors.")
    health: str = Field("/health/ready", description="The state of every dependency.")


def root_response(request: Request, api_version: str) -> Response:
    """Redirect to the documentation if the client accepts HTML. Otherwise return `Root`."""
    if "text/html" in request.headers.get("accept", "").lower():
        return RedirectResponse("/docs", headers=VARIES)
    root = Root(version=request.app.version, api=f"/api/{api_version}")
    return JSONResponse(root.model_dump(), headers=VARIES)
