"""Disks of a test's own: small, or read-only even for root."""

import subprocess

import pytest


def mounted(script):
    """A wrapper that runs a command after ``script`` as root of a namespace with mounts of its own."""
    wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh"]
    try:
        done = subprocess.run([*wrapper, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if done.returncode:
        pytest.skip(f"mounting in a user namespace is not permitted: {done.stderr.strip()}")
    return wrapper
