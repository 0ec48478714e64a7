"""Recipes, wiring, runners and the command line.

create.py wires the components, cli.py is the command line. The rooms:

    recipes   what can be run
    commands  `ncs4cvr COMMAND`, one module each
    init      a recipe for a user's own log
    run       runs on this machine, and the folder that they work in
    report    what a run came to, as a page
    kubeflow  the same pipeline on Kubeflow
    serving   what asks a model: files of rows, TF Serving, load
    kit       files that `ncs4cvr kit` copies
"""
