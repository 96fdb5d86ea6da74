"""Filters for the texts of sets' pages."""

from django import template
from django.utils.translation import ngettext, pgettext

from chat.cases.selectors import Totals
from chat.models import CaseResult, CaseVerdict
from chat.rendering import humanize
from chat.rendering.sentences import translate_error

register = template.Library()


@register.filter
def verdict_word(result: CaseResult) -> str:
    """The word for a case's result."""
    words = {
        CaseVerdict.WAITING: pgettext("a case", "waiting"),
        CaseVerdict.ASKED: pgettext("a case", "asked"),
        CaseVerdict.PASSED: pgettext("a case", "passed"),
        CaseVerdict.FAILED: pgettext("a case", "failed"),
        CaseVerdict.ANSWERED: pgettext("a case", "answered"),
        CaseVerdict.ERROR: pgettext("a case", "error"),
        CaseVerdict.STOPPED: pgettext("a case", "stopped"),
    }
    return words[CaseVerdict(result.verdict)]


@register.filter
def why_not(result: CaseResult) -> str:
    """Why a result is not right, in the reader's language."""
    return translate_error(result.why)


@register.filter
def costs(totals: Totals) -> list[str]:
    """The total costs of the cases, one text for each currency."""
    known = [humanize.cost(float(amount), currency) for currency, amount in sorted(totals.costs.items())]
    if not totals.unpriced:
        return known
    unknown = ngettext("cost unknown for %(n)s case", "cost unknown for %(n)s cases", totals.unpriced)
    return [*known, unknown % {"n": humanize.count(totals.unpriced)}]
