"""The service's own description: an OpenAPI document, made from what it serves and checks."""

from taskapi.api.openapi.document import document

__all__ = ["document"]
