"""What is wrong with a node's configuration: reading (`read`), facts (`model`), checks, and what is printed
(`show`).

A check is a pure function from facts to findings; `checks.CHECKS` is the table of them.
"""
