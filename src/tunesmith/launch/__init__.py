"""Starting the processes that train, on this host and together with others. Nothing here imports torch by itself.

asked.py        what settings and environment ask for
devices.py      how many GPUs this host has
scheduler.py    what Slurm and MPI say to a process that they started
plan.py         from these: train in this very process, or start so many
supervise.py    start them, watch them, start them again
failure.py      which of them failed first, and what the user is told
meeting.py      several hosts: who is who, and what they decide together
"""
