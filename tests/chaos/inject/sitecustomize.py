"""Python imports this when its folder is in PYTHONPATH: how the workers of Ray get kill points."""

import os

from tests.chaos.kill_points import install_from_environment

install_from_environment(os.environ)
