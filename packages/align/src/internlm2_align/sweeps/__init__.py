"""What a sweep ends with: a table and a plot of its runs, with intervals over seeds.

`table`   runs of a sweep -> mean and 95% interval of each figure, and differences seed by seed
`reward`  accuracy of reward models on held-out pairs
`ppo`     the course of PPO on held-out prompts
`rounds`  reward and named patterns of online RLHF, round by round
"""
