"""What dagger costs, measured beside its peers. `python -m tests.benchmarks --help` says how."""
