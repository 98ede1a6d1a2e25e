"""The conditional reward model (report section 4.2.1).

preference JSONL --encoding--> Group --shared--> one padding-free row --network--> scores --losses--> loss
                    ^
   condition prompt of the pair's domain
"""
