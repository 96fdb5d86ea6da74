"""Patterns for what servers say when they refuse something: tools, pictures, a part of a request. `agents.models.adapting` uses them."""

import re

# llama.cpp: tools param requires --jinja flag; Unsupported param: tools. Ollama: … does not support tools. vLLM: "auto" tool choice
# requires --enable-auto-tool-choice and --tool-call-parser. OpenRouter: No endpoints found that support tool use. LiteLLM: … does not
# support parameters: ['tools']. Groq: `tool calling` is not supported with this model. Bedrock: This model doesn't support tool use.
# Gemini, Mistral: Function calling is not enabled for … DeepSeek: … does not support Function Calling.
# Novita: model features function calling not support. SGLang's gateways: Unsupported tool_call_parser: None. Servers that check fields
# by their names: Unrecognized request argument supplied: tools; json: unknown field "tools"; ('tools' was unexpected).
_TOOLS = (
    r"[`'\"]?(?:tools?|tool[-_ ]?(?:use|usage|calls?|calling|choice)|functions?|function[-_ ]call(?:s|ing)?)[`'\"]?"
)
REFUSING_TOOLS = re.compile(
    r"(?:tools|tool_choice)[`'\"]? param requires|unsupported tool_call_parser|\bno (?:native )?tool support|不支持.{0,4}(?:工具|函数)"
    r"|(?:unsupported|unknown|unrecogni[sz]ed|unexpected|invalid) (?:request |keyword )?(?:param|parameter|field|argument|key|property)s?"
    rf"(?: supplied)?:? {_TOOLS}(?![\w.\[])"
    rf"|(?:param|parameter|field|argument)s? not supported:? {_TOOLS}(?![\w.\[])"
    rf"|does(?: not|n't) support (?:the )?(?:use of )?(?:parameters?:? )?[\[{{]?{_TOOLS}(?![\w.])"
    rf"|does(?: not|n't) have (?:the )?{_TOOLS} capabilit|(?:can ?not|can't) (?:call|use) {_TOOLS}(?![\w.])"
    r"|\"?auto\"? tool choice requires|requires? [`'\"]?--?(?:enable-auto-tool-choice|tool-call-parser|jinja)"
    rf"|no endpoints found that support (?:the provided )?{_TOOLS}|(?<![\w.]){_TOOLS} (?:is|are) only supported"
    rf"|(?:not (?:able to|capable of|trained (?:with|for|on)) (?:use |call |using |calling )?|does(?: not|n't) implement "
    rf"|unsupported feature:? ){_TOOLS}(?![\w.])|chat template with tool"
    rf"|(?<![\w.]){_TOOLS}(?: parameters?| field)? (?:(?:is|are|was|were) )?(?:currently )?(?:not (?:yet |currently )?|un)"
    r"(?:support(?:ed)?|enabled|available"
    r"|allowed|permitted|expected|accepted)\b"
    rf"|(?<![\w.]){_TOOLS} (?:can ?not|can't) be used"
    r"|property '(?:tools|functions)' is unsupported|(?<![\w.])tools: (?:extra|unexpected|unknown|field not)"
    r"|(?:extra_forbidden|extra inputs|extra fields)\W.{0,40}\btools\b(?!\.)",
    re.IGNORECASE,
)
# llama.cpp: image input is not supported - hint: … mmproj. vLLM: … is not a multimodal model; At most 0 image(s) may be provided.
# OpenAI: image_url is only supported by certain models. DeepSeek: unknown variant `image_url`, expected `text`. OpenRouter: No endpoints
# found that support image input. Ollama: this model is missing data required for image input. LM Studio: vision add-on is not loaded.
# Runners: no vision adapter; image encoder is not loaded. "image_url" alone may be of one picture.
REFUSING_IMAGES = re.compile(
    r"not a multimodal model|at most 0 image|images? (?:is |are )?(?:not|un)(?! a valid)|support (?:for )?(?:images?|vision)"
    r"|does(?: not|n't) support (?:image|vision|multimodal)|vision is not|\bmmproj\b|\bnot (?:a )?(?:vision|multimodal)\b"
    r"|(?:multimodal|mm) (?:input|content|data)s? (?:is |are )?not|(?:only|just) (?:supports? |accepts? )?text\b|content part:? '?image"
    r"|image_url\W{0,3}(?:(?:is|are|was) )?(?:only|not|un|extra)|(?:unknown|unsupported|unexpected|unrecogni[sz]ed|invalid) (?:content )?"
    r"(?:variant|type|part)s?\W.{0,12}image_url|(?:support|for|no) (?:\w+ )?image inputs?\b|image inputs? (?:is |are )?(?:not|un)"
    r"|content\W\d+\W(?:type: )?input should be 'text'|content\W\d+\W{1,2}type\b.{0,12}must be [`'\"]?text\b|\btext[- ]only\b"
    r"|\b(?:no|without|missing) (?:an? )?(?:vision|image|visual|multi-?modal) (?:adapter|add-?on|encoder|projector|tower|support|capabilit)"
    r"|\b(?:vision|image|visual|multi-?modal) (?:adapter|add-?on|encoder|projector|tower|support|inputs?)s? (?:is |are )?"
    r"(?:not|missing|disabled)"
    r"|\bvision (?:is )?disabled|does(?: not|n't) (?:accept|take|process|understand) (?:images|image inputs?|pictures)\b"
    r"|(?:can ?not|can't) see (?:images|pictures)\b|modality:? [`'\"]?image\b|\bmulti-modal (?:input|content|data)s? (?:is |are )?not"
    r"|不支持.{0,4}(?:图片|图像|视觉|多模态)"
    # Servers that know no parts at all: FastAPI, serde, Go, and others that check types.
    r"|content'? (?:must|should) be a (?:valid )?string|content: input should be a valid string|sequence, expected (?:a )?string"
    r"|cannot unmarshal array into .{0,80}content of type string|content\W{1,3}expected (?:a )?string",
    re.IGNORECASE,
)
# One picture is bad, for a server that accepts pictures: it is left out, because the conversation could not continue with it.
BAD_IMAGE = re.compile(
    r"(?:invalid|unsupported|corrupt|broken|malformed|too many|(?:could|can|did) ?n[o']t|fail(?:ed|ure)|unable).{0,40}\b(?:image|picture)"
    r"|\b(?:image|picture)s?\b.{0,60}(?:invalid|unsupported|not (?:valid|supported)|corrupt|too (?:large|small|big|long|many)|exceeds?"
    r"|(?:could|can) ?not|must be|at (?:most|least)|do(?:es)? not (?:meet|represent))"
    r"|image_url|aspect ratio|multimodal (?:file|data)|mime type|data[ -]ur[il]\b|\bbase64\b",
    re.IGNORECASE,
)
REFUSING = re.compile(
    r"extra (?:inputs?|fields?)|extra_forbidden|not (?:permitted|allowed|supported|recognized|implemented|expected|accepted|valid)"
    r"|unsupported|unknown|unrecogni[sz]ed|unexpected|additional propert|does(?:n't| not) support|invalid (?:param|field|arg|key)"
    r"|only allowed|deprecated|no longer (?:supported|accepted|available)|must not|cannot (?:be )?(?:specified|used|set|combined)"
    r"|no endpoints found",
    re.IGNORECASE,
)
# serde: unknown field `a`, expected one of `b`, `c`. Gateways: Unsupported parameter: a. Supported parameters are: b, c.
KNOWN_PARTS = re.compile(
    r"expected (?:one of )?[`'\"\[]|must be one of|did you mean"
    r"|(?<!not )\b(?:supported|allowed|valid|known|accepted|permitted|available) (?:request |body )?"
    r"(?:param(?:eter)?|field|key|propert(?:y|ie)|argument|option)s?\b",
    re.IGNORECASE,
)
# Anthropic: `temperature` and `top_p` cannot both be specified for this model. Please use only one.
ONE_OF = re.compile(r"\b(?:can ?not|can't|not) both\b|\bonly one of\b|\bmutually exclusive\b", re.IGNORECASE)
# Groups of parts, which gateways name instead of the parts: Sampling parameters are not supported by this model. JSON mode is not
# supported. Groq: json mode cannot be combined with tool/function calling. Gemini: Function calling with a response mime type:
# 'application/json' is unsupported.
SAMPLING = re.compile(r"\b(?:sampl(?:ing|er)|generation|decoding) (?:param|setting|option|config)", re.IGNORECASE)
PENALTIES = re.compile(r"\bpenalt(?:y|ies)\b", re.IGNORECASE)
LOGPROBS = re.compile(r"\b(?:top )?log[-_ ]?prob(?:s\b|abilit)", re.IGNORECASE)
FORMS = re.compile(
    r"\bjson[-_ ](?:mode|schema|object)|\bstructured[-_ ]outputs?|\bresponse (?:format|mime type)|\bguided[-_ ](?:decoding|generation)"
    r"|\bgrammars?\b",
    re.IGNORECASE,
)
USAGE = re.compile(r"\binclude_usage\b", re.IGNORECASE)
STOPS = re.compile(r"\bstop[-_ ](?:sequence|word|string|token)", re.IGNORECASE)
PARALLEL = re.compile(r"\bparallel[-_ ](?:tool|function)[-_ ]?(?:use|call)", re.IGNORECASE)
CACHING = re.compile(r"\bprompt[-_ ]cach(?:e|ing)\b", re.IGNORECASE)
STREAMING = re.compile(
    r"\bstreaming (?:mode |responses? |requests? |output )?(?:is|are) |\bsupport (?:for )?stream(?:ing\b|ed? (?:mode|responses?|output))"
    r"|\bstream mode\b|\bno streaming\b",
    re.IGNORECASE,
)
# Errors that do not say what was wrong: Internal Server Error; Bad Request; Something went wrong.
NO_REASON = re.compile(
    r"(?:[\W\d_]|internal|server|errors?|bad|request|gateway|upstream|provider|returned|an|occurred|while|processing|your|the|please|try"
    r"|again|later|something|went|wrong|unexpected|unknown|unprocessable|entity|content|payload|too|large|failed|failure|api|invalid"
    r"|null|none|status|code|nginx|openresty|cloudflare|http|exception|has)*",
    re.IGNORECASE,
)
NO_SYSTEM = re.compile(
    r"system (?:role|messages?|prompts?|instructions?) (?:is |are )?(?:not|un)|does(?:n't| not) support (?:the )?[`'\"]?system\b"
    r"|[`'\"]system[`'\"] role (?:is |are )?(?:not|un)|invalid (?:message )?role:? ?[`'\"]?system\b|unknown variant [`'\"]?system\b"
    r"|\bmessages\W{1,2}0\W{1,2}role\b.{0,40}should be 'user'|only user and assistant roles"
    # Of gateways that put one of their own before ours.
    r"|only (?:one|a single) system message|system messages? (?:must|should|can only) be (?:at )?(?:the )?(?:beginning|first)"
    r"|system messages are only allowed at the beginning|[`'\"]system[`'\"]\)? role is only supported as the first"
    r"|unexpected role [`'\"]system\b"
    r"|(?:developer|system) instruction is not enabled",
    re.IGNORECASE,
)
# Templates of servers that have no role for results: Gemma's, Mistral's, Llama 2's; or allow one call per turn: Llama 3.1's. Servers
# that check roles: LocalAI, TGI, KoboldCpp, Perplexity.
NO_RESULTS = re.compile(
    r"roles? must alternate|\(?s?\)? should alternate|only supports single tool[- ]calls?"
    r"|only user(?:,| and|,? or)? .{0,30}roles? (?:are|is) (?:supported|allowed)"
    r"|(?:unknown|invalid|unsupported|unexpected|unrecogni[sz]ed) (?:message )?role:? ?[`'\"]?tool\b"
    r"|role:? ?[`'\"]?tool[`'\"]? (?:is |are )?(?:not|un)(?: ?supported| ?known| ?allowed)|role [`'\"]?tool[`'\"]? must be one of"
    r"|unknown variant [`'\"]?tool\b|input should be 'system', 'user' or 'assistant'"
    r"|\bmessages\W{1,2}[1-9]\d{0,5}\W{1,2}role\b.{0,40}(?:must be one of|input should be|invalid enum)",
    re.IGNORECASE,
)
# Mistral: Tool call id (or: Function id) was … but must be a-z, A-Z, 0-9, with a length of 9. OpenAI, about ids made by other
# servers: Invalid 'messages[3].tool_calls[0].id': string too long. Anthropic: tool_use.id: String should match '^[a-zA-Z0-9_-]+$'.
SHORT_IDS = re.compile(
    r"(?:tool[ _]call|function)[ _]ids?\b.{0,200}(?:length (?:of )?9\b|9 (?:alphanumeric )?characters)"
    r"|(?:tool_calls\[\d+\]\.|tool_call_|tool_use\.|tool_use_)id\b.{0,40}(?:string too long|maximum length|match pattern)",
    re.IGNORECASE | re.DOTALL,
)
# Anthropic and Gemini, about calls in this conversation that another model made, or whose thoughts are missing.
UNSIGNED_CALLS = re.compile(
    r"missing a [`'\"]?thought_signature|expected [`'\"]?thinking[`'\"]? or [`'\"]?redacted_thinking", re.IGNORECASE
)
# Bedrock, Anthropic and LiteLLM, about calls in a conversation whose request offers no tools any more.
WANTS_TOOLS = re.compile(
    r"toolconfig field must be defined|`tool_result` blocks must define tools|without `tools=` param|expects the `tools=` param",
    re.IGNORECASE,
)
# OpenAI: Invalid 'messages': array too long. Expected an array with maximum length 2048.
TOO_MANY_MESSAGES = re.compile(r"\bmessages\b\W{1,4}array too long|too many messages\b", re.IGNORECASE)
# OpenAI: Invalid 'tools': array too long. Expected an array with maximum length 128; or its code alone. Groq: 'tools' : maximum number of
# items is 128. Copilot: You may not include more than 128 tools in your request. Gemini: tools[0].function_declarations: At most 512
# function declarations can be specified. xAI: Maximum tools limit reached. 219 tools have been provided but the maximum is 200. Servers
# that check types: pydantic, zod, ajv, Smithy.
_ALL_TOOLS = r"(?<![\w\]])[`'\"]?(?:tools|functions|function[_ ]declarations)(?!\w)[`'\"]?"
TOO_MANY_TOOLS = re.compile(
    rf"(?:too many|(?:more than|at most|limit of|up to|only supports?|only allows?) \d{{1,6}}|max(?:imum)?(?: number of)?) {_ALL_TOOLS}"
    rf"|number of {_ALL_TOOLS}.{{0,20}}(?:exceed|limit|maximum|above|over|too)"
    rf"|{_ALL_TOOLS}\W{{0,3}}(?:array |list |member )?(?:(?:is )?too long|maximum number of items|array_above_max_length"
    r"|(?:must|should|can) (?:not )?(?:have|contain) (?:at most|no more|more than|fewer|up to|a maximum)"
    r"|failed to satisfy constraint: member must have length less)"
    rf"|too long - {_ALL_TOOLS}|(?:tools|工具|函数) ?的?(?:数量|个数).{{0,8}}(?:超|过多|最多|不能)|最多.{{0,6}}\d{{1,6}} ?个(?:工具|函数)",
    re.IGNORECASE,
)
MOST_TOOLS = re.compile(
    r"(?:\bmax(?:imum)?(?: [a-z]{1,12}){0,4}|at most|more than|up to|exceed|equal to|limit of|limit is|最多(?:支持)?|超过)"
    r"[^\w\n]{0,3}(\d{1,6})",
    re.IGNORECASE,
)
# When a template fails on tools and calls: llama.cpp: Unknown (built-in) filter 'items' for type String; Value is not callable: null.
# vLLM: Can only get item pairs from a mapping. LM Studio: Error rendering prompt with jinja template: "Unknown StringValue filter: safe".
TEMPLATE_FAILS = re.compile(
    r"unknown (?:\(built-in\) |\w+value )?(?:filter|test)\b|can only get item pairs from a mapping|value is not callable"
    r"|cannot call something that is not a function|cannot subscript null\b"
    r"|jinja (?:template|exception|error)|template (?:rendering|render) (?:failed|error)",
    re.IGNORECASE,
)
# Mistral's older checks: Assistant message must have either content or tool_calls, but not both.
NOT_BOTH = re.compile(
    r"content or tool_calls,? but not both|(?:content and tool_calls|tool_calls and content) (?:can ?not|must not)",
    re.IGNORECASE,
)
# Signed or encrypted fields that are not valid any more, because the gateway uses another provider or key, or earlier messages changed.
# Anthropic: Invalid `signature` in `thinking` block; bound to a different conversation. OpenAI: invalid_encrypted_content. Gemini:
# Thought signature is not valid; Corrupted thought signature.
SPOILED = re.compile(
    r"(?:invalid|corrupt(?:ed)?|malformed|expired|bad)\W{1,3}(?:thinking |thought |reasoning )?(?:thought_)?signature"
    r"|signature\W{1,3}(?:(?:is|was) )?(?:not valid|invalid|corrupt|expired|missing)|invalid_encrypted_content"
    r"|encrypted[ _]content\b.{0,80}(?:could not|cannot|can't|failed|not) |bound to a different conversation"
    r"|(?:thinking|redacted_thinking)[`'\"]? blocks?\b.{0,80}(?:cannot be modified|must (?:contain|have|include)|signature)",
    re.IGNORECASE,
)
# Gemini: GenerateContentRequest.tools[0].function_declarations[16].parameters.properties[a].items: missing field; Unknown name "$schema"
# at 'tools[0]…'. OpenAI: Invalid schema for function 'x': array schema missing items. Anthropic: tools.0.custom.input_schema: JSON schema
# is invalid. llama.cpp: JSON schema conversion failed; Unrecognized schema.
REFUSING_SCHEMAS = re.compile(
    r"function_declarations\b|invalid (?:json )?schema for (?:function|tool)|json schema (?:is invalid|conversion failed)"
    r"|for '\w{1,20}' type, property '|simplify your tool schemas|invalid value for parameter [`'\"]?tools\b"
    r"|unrecogni[sz]ed schema|schema at top-level|\btools\W{1,3}\d+\W{1,3}(?:(?:function|custom)\W)?(?:parameters|input_schema)\b"
    r"|unknown name .{1,60} at 'tools|\btools\W{1,3}\d+\W{1,3}(?:(?:function|custom)\W)?description\b",
    re.IGNORECASE,
)
# OpenAI's newer models: Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead.
NEW_LENGTH = re.compile(r"\buse\W{1,3}max_completion_tokens", re.IGNORECASE)
# Bedrock and Anthropic, behind gateways that pass on empty contents.
NO_EMPTY = re.compile(
    r"content blocks must (?:be non-empty|contain non-whitespace)|non-empty content"
    r"|message at position \d{1,6} with role 'assistant' must not be empty"
    r"|content(?:block)?\b.{0,60}(?:is (?:empty|blank)|(?:must not|cannot|can't|should not) be (?:an )?empty"
    r"|at least 1 character)",
    re.IGNORECASE,
)
# Ollama: "gemma3" does not support thinking; think value "high" is not supported for this model.
NO_THINKING = re.compile(
    r"does(?: not|n't) support (?:thinking|reasoning)\b|(?:thinking|reasoning) is mandatory"
    r"|think(?:ing)? (?:value .{0,20})?is not supported",
    re.IGNORECASE,
)
#: What a refusal because of length mentions if the answer's length, and not only the request's, is too much.
ANSWER_TOO = re.compile(
    r"max(?:_completion|_new|_output)?_tokens|(?:in|for) the completion|completion tokens|output tokens", re.IGNORECASE
)
MISSING = re.compile(
    r"[`'\"]?(reasoning_content|reasoning)[`'\"]?.{0,40}(?:must be (?:passed|provided|sent|included)|is (?:missing|required))"
    r"|(?:missing|requires?|expected)\W{1,3}(?:the )?(?:field )?[`'\"]?(reasoning_content|reasoning)\b",
    re.IGNORECASE,
)
