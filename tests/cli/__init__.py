import pytest

pytest.register_assert_rewrite("tests.cli.helpers")  # what fails there shows its values, too
