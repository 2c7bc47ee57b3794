"""Hypothesis: the same examples every time; `pytest --hypothesis-profile=search` looks for new ones."""

from hypothesis import HealthCheck, settings

slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
settings.register_profile("same", deadline=None, max_examples=25, derandomize=True, suppress_health_check=slow)
settings.register_profile("search", deadline=None, max_examples=400, suppress_health_check=slow)
settings.load_profile("same")
