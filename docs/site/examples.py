"""Have the site show the examples of docstrings as code."""

from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Call a section ``Example:`` as griffe calls what it renders as code."""

    def on_instance(self, *, obj: Object, **kwargs: Any) -> None:
        """Rename the section in a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
