"""The commands of README.md and docs/, typed as they stand.

A page shows its commands in blocks of the kind `console`: a line that begins with `$ ` is typed, `> ` goes on
with it, and the lines below it are what it prints. What a reader does not see says where that happens:

    <!-- terminal: NAME -->     in another terminal; the last command of the block goes on until a later block
                                of this terminal begins with `^C`
    <!-- guest -->              in a Linux guest, for what needs a kernel's mount
    <!-- needs: PROGRAM -->     only where there is such a program
    <!-- not run: REASON -->    nowhere
    <!-- file: NAME -->         no command: the text of this file

page.py reads pages, shown.py knows what varies in what they show, terminal.py is where commands are typed,
mounted.py is the guest, and walk.py walks through a page.
"""
