"""Policies learnt from simulations: the M3 paper's networks and training (arXiv 2411.16019).

The one room besides the agents that imports torch. The core never imports it: commands and plugins
do, when they are asked to.
"""
