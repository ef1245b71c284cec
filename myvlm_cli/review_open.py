"""`myvlm review --open`: serve the page of suggestions, and what all forms of a review say."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from myvlm_cli.output import out

if TYPE_CHECKING:
    from engine.concepts.decision_log import DecisionLog
    from engine.concepts.review import Review
    from engine.session import Session


def open_review(session: "Session", review: "Review", limit: int | None, *, caption: str, again: str) -> None:
    """Serve the page until the user is done with it, and print what was decided.

    caption, again: the commands to run next, and to go on with what is undecided.
    """
    from engine.concepts.decide import decide
    from engine.concepts.decision_log import DecisionLog
    from engine.pages.review_cards import in_page_order
    from engine.pages.review_desk import ReviewDesk
    from myvlm_cli.serving import serve_page

    warn_of_gaps(review)
    shown = review.suggestions[:limit]
    if not shown:
        out.say(nothing_to_review(review, None))
        return
    log = DecisionLog(in_page_order(shown), session.store.decisions, partial(decide, session))
    desk = ReviewDesk(log, more=len(review.suggestions) - len(shown), next_command=caption, again=again)
    try:
        serve_page(desk)
    finally:
        desk.close()
    _tell(log, caption, again)


def _tell(log: "DecisionLog", caption: str, again: str) -> None:
    """Print what was decided, and what to do next."""
    from engine.concepts.decision_log import Choice

    for note in log.notes:
        out.warn(str(note))
    confirmed, rejected = log.count(Choice.CONFIRM), log.count(Choice.REJECT)
    undecided = len(log.suggestions) - confirmed - rejected
    out.say(f"{confirmed:,} confirmed, {rejected:,} rejected, {undecided:,} undecided.")
    out.say(f"Next: {caption if confirmed + rejected else again}")


def warn_of_gaps(review: "Review") -> None:
    """Warn about photos that cannot be read and concepts that cannot be looked for."""
    for _, reason in review.unreadable:
        out.warn(reason)
    for left_out in review.not_looked_for:
        out.warn(f"{left_out.error}. {left_out.error.hint}")


def nothing_to_review(review: "Review", html: Path | None) -> str:
    """Return why there are no suggestions."""
    page = " The page says so, too." if html else ""
    if review.looked_for:
        return f"Nothing to review: there are no suggestions in these photos.{page}"
    if review.not_looked_for:
        return f"Nothing to review: none of the concepts can be looked for.{page}"
    return f"Nothing to review: there are no concepts yet. Start with: myvlm add-concept NAME PHOTOS{page}"
