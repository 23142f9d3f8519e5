"""A hook of MkDocs: README.md and CONTRIBUTING.md join the pages, and links to them stay in the site."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
JOINING = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files, config):
    for name, page in JOINING.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links as seen from one folder, and no word behind the language of a block, which MkDocs cannot read."""
    for name, joined in JOINING.items():
        markdown = re.sub(rf"\]\((\.\./)?{re.escape(name)}", f"]({joined}", markdown)
    markdown = markdown.replace("](docs/", "](")
    return re.sub(r"^```python runnable \w+$", "```python", markdown, flags=re.MULTILINE)
