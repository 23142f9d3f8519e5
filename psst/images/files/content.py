"""What a file is, told by its first bytes."""

import re

_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|\?xml)", re.I | re.S)


def is_web_page(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a web page, as failed downloads leave it."""
    return _PAGE.match(head.removeprefix(b"\xef\xbb\xbf")) is not None
