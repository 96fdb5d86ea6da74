"""The marks by which models end their text; some servers do not remove them."""

import re

END_MARK = re.compile(
    r"(?<!\s)(</s>|<\|im_end\|>|<\|eot_id\|>|<\|eom_id\|>|<\|end\|>|<\|endoftext\|>|<\|end_of_text\|>|<end_of_turn>|<turn\|>"
    r"|<\|return\|>|<\|END_OF_TURN_TOKEN\|>|<\|end_of_role\|>|<｜end▁of▁sentence｜>|\[EOS\])\s*\Z"
)
#: More characters than any such mark and what is before it have; a mark may arrive in as many pieces.
LONGEST_MARK = 64
