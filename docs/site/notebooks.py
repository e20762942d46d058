"""The notebooks as pages of the site, with their outputs."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, and its pictures."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        text, pictures = page(json.loads(path.read_text(encoding="utf-8")), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Return the text of a notebook's page, and its pictures by the names of their files."""
    parts, pictures = list[str](), dict[str, bytes]()
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", source.replace("](../docs/", "](../")))
            continue
        parts.append(_block("python", source))
        for output in cell["outputs"]:
            shown = output.get("data", {})
            if "image/png" in shown:
                file = f"{name}_{len(pictures)}.png"
                pictures[file] = base64.b64decode("".join(shown["image/png"]))
                parts.append(f"![What the cell above draws]({file})")
            elif "text/markdown" in shown:
                parts.append("".join(shown["text/markdown"]))
            else:
                parts.append(_block("text", "".join(shown.get("text/plain", output.get("text", "")))))
    return "\n\n".join(parts) + "\n", pictures


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
