"""How a reply ended: servers use many words for it, and only some of them mean that the answer is complete."""

import re
from typing import Literal

from agents.errors import ModelError
from agents.models.reply import Reply
from agents.sentence import Sentence

End = Literal["whole", "cut", "withheld", "other"]

# In small letters, without signs, without "finish_reason" before them. Whose they are: OpenAI, Anthropic, Gemini, Cohere, Mistral,
# Together, text-generation-inference, llama.cpp, LM Studio, watsonx, xAI, Qianfan, Zhipu, TensorRT-LLM, Aleph Alpha.
_WORDS: dict[End, str] = {
    "whole": "stop stopped stopsequence stopstring stopstringfound stoptoken stoptokenfound stoptokenid word "
    "eos eostoken eosfound eot eotid eomid imend s endturn endofturn endoftext endofsentence endofsequence complete completed "
    "finish finished done normal success toolcall toolcalls tooluse functioncall functioncalls tool tools "
    "end ended endid eod eodtoken eosreached endofmessage endofstream stopword stopwords stopsequences stopsequencereached stoptokenids",
    "cut": "length lengthlimit limit tokenlimit tokenlimitreached maxtoken maxtokens maxtokensreached maxtokenlimit maxlen maxlength "
    "maxcontext maxcontextlength maxoutputtokens maxnewtokens maxcompletiontokens maxpredictedtokensreached modellength "
    "maxoutput maxtotaltokens maxseqlen maxgenlen modelmaxlength maximumtokens outoftokens maxtokensexceeded context contextfull "
    "contextoverflow outputlimit outputlimitreached maxoutputtokensreached maxcompletiontokensreached tokenlimitexceeded lengthexceeded "
    "truncated "
    "modelcontextwindowexceeded contextlength contextlengthexceeded contextlengthreached contextwindowexceeded errorlimit",
    "withheld": "contentfilter contentfiltered contentpolicyviolation filter filtered sensitive safety imagesafety refusal recitation "
    "blocklist blocked prohibitedcontent spii moderation guardrail guardrailintervened errortoxic datainspectionfailed "
    "modelarmor imageprohibitedcontent imagerecitation language guardrails guardrailtriggered policyviolation unsafe promptblocked",
}
_MEANINGS: dict[str, End] = {word: end for end, words in _WORDS.items() for word in words.split()}
_NONE = frozenset({"", "null", "none", "nil", "undefined", "unspecified", "notfinished", "inprogress"})
_CALLED = frozenset("toolcall toolcalls tooluse functioncall functioncalls tool tools".split())
_SIGNS = re.compile(r"[\W_]+")
_BEFORE = ("finishreason", "stopreason", "reason")


def _bare(reason: str) -> str:
    word = _SIGNS.sub("", reason.lower())
    for before in _BEFORE:
        word = word.removeprefix(before)
    return word


def is_end(reason: str) -> bool:
    """Whether a server's finish reason means that the reply has ended."""
    return _bare(reason) not in _NONE


def classify_end(reason: str) -> End:
    """The meaning of a server's finish reason."""
    # Gemini says of what kind behind a colon: content_filter: PROHIBITED_CONTENT.
    return _MEANINGS.get(_bare(reason)) or _MEANINGS.get(_bare(reason.partition(":")[0]), "other")


def check_end(reply: Reply) -> None:
    """Raise `ModelError` if a finished reply is not complete, or has neither an answer nor a call.

    A reply without the call that its server speaks of gets an `end_note`.
    """
    reason = reply.finish_reason or ""
    end = classify_end(reason)
    has_answer = bool(reply.content.strip())
    if end == "cut":
        words = (
            Sentence("The model reached its length limit, so its answer breaks off here.")
            if has_answer
            else Sentence("The model reached its length limit before it gave an answer.")
        )
        raise ModelError(words, "model_cut_off")
    if end == "withheld":
        raise ModelError(
            Sentence("The model's provider withheld the rest of the answer (content filter).")
            if has_answer
            else Sentence("The model's provider withheld the answer (content filter).")
        )
    if end == "other":
        shown = " ".join(reason.split())[:80]
        raise ModelError(
            Sentence(
                "The model server ended the answer before its end, and gave “%(reason)s” as the reason.", reason=shown
            )
        )
    if not reply.has_calls and not has_answer:
        raise _no_answer(reply)
    if not reply.has_calls and reply.tools and _bare(reason) in _CALLED:
        # Servers lose calls that they cannot parse; but some send this reason with every answer, so this one may be complete.
        reply.end_note = Sentence(
            "The model server says that a tool was called here, and has sent no call: this may not be the whole answer."
        )


def _no_answer(reply: Reply) -> ModelError:
    """The error for a reply without text and calls."""
    if reply.call_in_thought:
        return ModelError(
            Sentence(
                "The model called a tool within its thoughts, where the server passes it on as text, so nothing was run. "
                "The server's tool parser may not fit the model; LLM_TOOL_FORMAT=template does without one."
            )
        )
    if _bare(reply.finish_reason or "") in _CALLED:
        return ModelError(
            Sentence(
                "The model server says that a tool was called, and has sent no call, so nothing was run. "
                "The server's tool parser may not fit the model; LLM_TOOL_FORMAT=template does without one."
            )
        )
    if reply.reasoning:
        return ModelError(Sentence("The model ended after its thoughts without giving an answer."))
    return ModelError(Sentence("The model returned an empty answer."))
