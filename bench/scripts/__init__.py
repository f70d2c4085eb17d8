"""Contestants that are no command of their own: small programs, each run as a process."""
