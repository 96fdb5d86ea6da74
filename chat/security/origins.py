"""Explains why a page of this site is taken for another site's, for the user and for the operator of the proxy in front."""

import logging

from agents.sentence import Sentence

logger = logging.getLogger(__name__)

#: Causes that were logged, in order, each once: otherwise a misconfigured proxy would fill the log.
noticed: dict[str, None] = {}
_MOST_LOGGED = 100


def explain_mismatch(origin: str, asked_as: str) -> str:
    """What differs between a page's origin and this request's host, and which header or setting corrects it."""
    # Not parsed as an address, because it may be none.
    (scheme, _, rest), (seen_scheme, _, seen_host) = origin.partition("://"), asked_as.partition("://")
    host = rest.partition("/")[0]
    mend = []
    if scheme != seen_scheme:
        mend.append(
            Sentence(
                "the proxy must send X-Forwarded-Proto: %(scheme)s and be one of TRUSTED_PROXIES", scheme=scheme[:10]
            )
        )
    if host != seen_host:
        mend.append(Sentence("the proxy must pass the header Host on as it came"))
    own = f"{scheme}://{host}"[:200]
    both = Sentence("%(one)s, %(other)s", one=mend[0], other=mend[1]) if len(mend) == 2 else "".join(mend[:1])
    return Sentence(
        "The page is at %(own)s, but this server was asked as %(seen)s. For whoever runs it: if that is the site's own address, "
        "%(mend)s, and PUBLIC_URL must be %(own)s; if it is another site that may write here, CSRF_TRUSTED_ORIGINS must name it.",
        own=own,
        seen=asked_as[:200],
        mend=mend[0] if len(mend) == 1 else both,
    )


def warn_once(cause: str) -> None:
    """Log a cause, unless it was logged before."""
    if cause not in noticed and len(noticed) < _MOST_LOGGED:
        noticed[cause] = None
        logger.warning("%s", cause)


def describe_causes() -> str:
    """The causes logged so far, one per line, for operators who look into `/admin/` rather than into logs."""
    return "\n".join(tuple(noticed))
