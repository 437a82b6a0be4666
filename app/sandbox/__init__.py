"""Kernel limits for child processes: the files, hosts and system calls that a child may use.

The modules in this package import only the standard library, because the launcher runs them before
the child's program, in an interpreter without site-packages.
"""
