"""Kernel limits for child processes: which files, hosts and system calls one may use.

The modules below import the standard library alone: the launcher runs them before the child's
program, in an interpreter without site-packages.
"""
