"""Every criterion of the contract is judged, from outside or from inside."""

from conformance.criteria import AREAS, REPOSITORY, read_contract
from conformance.registry import all_checks
from conformance.whitebox import WHITE_BOX, missing


def test_every_criterion_is_judged() -> None:
    judged = {check.criterion for check in all_checks()} | set(WHITE_BOX)
    assert set(read_contract()) - judged == set()


def test_nothing_is_judged_that_the_contract_does_not_say() -> None:
    named = {check.criterion for check in all_checks()} | set(WHITE_BOX)
    assert named - set(read_contract()) == set()


def test_the_white_box_tests_exist() -> None:
    assert missing(REPOSITORY) == []


def test_the_contract_is_read_whole() -> None:
    contract = read_contract()
    assert {criterion.area for criterion in contract.values()} == set(AREAS)
    assert len(contract) >= 60
    assert all(criterion.text for criterion in contract.values())


def test_checks_have_names_of_their_own() -> None:
    names = [check.name for check in all_checks()]
    assert len(names) == len(set(names))
