"""Packed export: tickets and weights in one asset that stock TensorFlow ops decode at load.

coding    arrays <-> bytes: gaps between kept connections, tickets as bits, byte planes of values
asset     the asset: its header, its parts, what they weigh against the information limit
layers    a ranker's masked layers, as packing takes them
places    what of an asset is held in memory: sparse entries, dense matrices
decoding  the asset backwards, in stock ops
resources the variables that a served model keeps what was decoded in, filled once at load
kernels   products with these
store     packed or plain: where the served model's weights come from
towers    the tasks' masked layers: sparse or dense products, by batch size
clock     times these ways, in a process of its own
plans     which of them, chosen by that
slimming  the graph without what repeats itself
inspection  what is in an exported model
"""
