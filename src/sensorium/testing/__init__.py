"""Contract tests for models, built-in or of a third party. They need no test framework:

    from sensorium.testing import check_recommender
    check_recommender(MyModel, {"dim": 16})

raises one `ContractError` that lists what is wrong, and returns what was checked. `tiny_view` makes data for a model's
own tests.
"""

from sensorium.testing.contract import CHECKS, check_recommender
from sensorium.testing.data import tiny_data, tiny_view
from sensorium.testing.histories import HISTORY_CHECKS, check_history_recommender, ordered_view
from sensorium.testing.subject import ContractError, NotApplicable, Subject, subject_of

__all__ = [
    "CHECKS",
    "HISTORY_CHECKS",
    "ContractError",
    "NotApplicable",
    "Subject",
    "check_history_recommender",
    "check_recommender",
    "ordered_view",
    "subject_of",
    "tiny_data",
    "tiny_view",
]
