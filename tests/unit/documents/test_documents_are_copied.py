"""Nothing in the documents can be copied that no test has copied, or says why not."""

import json

from tests.documents import NOT_COPIED, ROOT, blocks, is_copied

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("helmchart/*.md"))
)


def test_every_block_of_commands_is_copied_by_a_test_or_listed() -> None:
    left = [block for document in DOCUMENTS for block in blocks(document, "console")]
    left += [b for document in DOCUMENTS for b in blocks(document) if not is_copied(b)]
    reasons = [
        [key for key in NOT_COPIED if key[0] == b.document and b.commands.startswith(key[1])]
        for b in left
    ]
    assert [b.where for b, found in zip(left, reasons, strict=True) if len(found) != 1] == []
    assert sorted(key for [key] in reasons) == sorted(NOT_COPIED)


def test_every_answer_that_is_shown_is_compared() -> None:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        answers = [block.answer for block in blocks(document) if block.answer is not None]
        assert text.count("\n```json\n") == len(answers), document


def test_the_policy_of_the_bucket_is_one() -> None:
    [policy] = blocks("docs/operations.md", "json policy")
    assert set(json.loads(policy.commands)) == {"Effect", "Action", "Resource"}
