"""The network: plain modules that know nothing of training, configuration or the cluster."""
