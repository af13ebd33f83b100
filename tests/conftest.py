"""What all tests share: a hypothesis profile that gives every run the same examples."""

from hypothesis import settings

settings.register_profile("reproducible", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("reproducible")
