"""Jinja2 as the generator uses it: a misspelt name is an error, blocks leave no blank lines."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

import codegen
from hil.core.errors import PlanError

TEMPLATES = Path(codegen.__file__).parent / "templates"


@cache
def environment() -> jinja2.Environment:
    """The one environment of all templates."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C, not HTML
    )


def render(template: str, **context: Any) -> str:
    """Text of ``template`` (path below templates/). PlanError names template and missing name."""
    try:
        return environment().get_template(template).render(context)
    except jinja2.TemplateError as error:
        raise PlanError(f"template {template}: {error}") from error
