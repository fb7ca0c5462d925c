"""
Settings of every test.

Property tests use fixed examples, so that a run repeats; `--hypothesis-profile=random`
draws new ones and tries harder. No deadlines: machines are shared.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fixed",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("random", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("fixed")
