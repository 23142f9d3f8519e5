"""Files as they come: downloaded, found, listed in archives, unpacked, unpickled."""
