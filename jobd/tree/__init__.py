"""The tree: jobs as files.  The only place that knows both 9P and jobs.

`Tree` is the `IFilesystem`.  Every file is a node of `jobd.tree.nodes`, walked to from a root that
belongs to one attached user.
"""

from jobd.tree.root import Tree

__all__ = ["Tree"]
