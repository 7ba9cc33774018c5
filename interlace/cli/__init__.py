"""The command line, ``interlace``: fit, report, verify, check-r, datasets, demo.

Exit status
-----------
0
    Done, and the answer is yes.
1
    Done, and the answer is no: a fit did not converge, printed digits do not hold, R differs.
2
    What was asked for cannot be done: a wrong option, no such file or column, a formula that cannot be read.
3
    Something that is needed is not installed.

Errors are one line on standard error. Warnings go there too, those that a summary shows are not said twice.
"""
