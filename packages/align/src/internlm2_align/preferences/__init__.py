"""Preference data: pairs of ours and of others, read, split by question and kept once.

A pair walks from file to loss through each module once:

    sources (files and turns by internlm2_records) --> preference --> splits
        --> reward.data --> reward.pairs --> reward.encoding --> reward.shared --> reward.model --> reward.losses
"""
