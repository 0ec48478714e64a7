"""Packed export: tickets and weights in one asset that stock TensorFlow ops decode at load.

coding    arrays <-> bytes: gaps between kept connections, tickets as bits, byte planes of values
asset     the asset: its header, its parts, what they weigh against the information limit
resources what of it lies in memory after load, and the stock ops that put it there
towers    the tasks' masked layers over these: sparse or dense products, by batch size
plans     which of the two, chosen by timing
"""
