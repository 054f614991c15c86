"""Prints the folder below PREFIX in which this Python looks for the site's modules; nothing if there is none.

python3 packaging/site_folder.py PREFIX

`make install` puts numa-align.pth there, with the folder of the modules in it, and `import numa_align` works.
A line with a path is all that it is: nothing is run, and the modules' folder comes after all others.
"""

import site
import sys
from pathlib import PurePosixPath


def main() -> None:
    """PREFIX=/usr has its own: what is below /usr/local is the administrator's, not a package's."""
    prefix, local = PurePosixPath(sys.argv[1]), PurePosixPath("/usr/local")
    folders = (PurePosixPath(folder) for folder in site.getsitepackages())
    mine = [folder for folder in folders if prefix in folder.parents]
    if prefix != local and local not in prefix.parents:
        mine = [folder for folder in mine if local not in folder.parents]
    print(mine[0] if mine else "")


if __name__ == "__main__":
    main()
