"""Rounds of online RLHF (report section 4.2.2).

    reward model k --PPO--> actor, early and late
        fast path:  early against late replies --audit--> 20-100 pairs that show the hacking pattern --.
        slow path:  SFT, early and late replies, paired ------------------------------------------------+--> annotator
                                                                            reward model k+1 <--labels--'

Any `Annotator` labels. Where people do, a round waits for them on disk. The search for hacking patterns is an audit
after the fact: it says what a finished PPO run has learned to do for reward alone. It gives no warning in advance.
"""
