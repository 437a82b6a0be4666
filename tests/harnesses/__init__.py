"""Running parts of Asgard, as tests drive them: each module has one."""
