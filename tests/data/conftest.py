from importlib.util import find_spec

# The base install has no torch. Everything but the loaders is tested without it.
collect_ignore = [] if find_spec("torch") else ["loading", "test_provenance.py"]
