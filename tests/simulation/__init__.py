"""A whole jobd on a clock, a disk, a process table and connections that do what a seed says."""
