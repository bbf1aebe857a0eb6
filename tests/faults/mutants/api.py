"""Safeguards of the API: who may call a view, and what a page may run."""

from tests.faults.mutants import Mutant

MUTANTS = [
    Mutant(
        "a view says who may call it",
        "taskapi/api/contract.py",
        "    if action is None:\n        raise NoAuthorisation\n",
        "    if action is None:\n        return\n",
        "api/test_contract.py::test_a_view_without_authorisation_is_refused",
    ),
    Mutant(
        "authorisation by the path",
        "taskapi/api/contract.py",
        '    policy.authorise(action, app_ctx.g.caller, named, user_id=ids.get("user_id"))\n',
        "    del named\n",
        "api/test_contract.py::test_the_example_does_what_its_contract_says",
    ),
    Mutant(
        "scripts of the documentation page",
        "taskapi/api/docs.py",
        '        response.headers["Content-Security-Policy"] = POLICY.format(hashes=hashes)\n',
        "        del hashes\n",
        "api/test_docs.py::test_the_page_runs_only_the_scripts_that_it_came_with",
    ),
]
