"""Where units run: this process, several processes, Ray."""
