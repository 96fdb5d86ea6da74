"""Markdown as models write it, and the expected HTML; the server's renderer and the browser's are both tested with it.

``dir="auto"``, which each block has, is left out here.
"""

P = "<p>{}</p>"


def link(href: str, text: str) -> str:
    return f'<a href="{href}" target="_blank" rel="noopener noreferrer nofollow">{text}</a>'


def host(name: str) -> str:
    return f' <span class="host">({name})</span>'


def math(tex: str) -> str:
    return f'<span class="math">{tex}</span>'


CASES: list[tuple[str, str]] = [
    # CommonMark, tables
    ("**yes** and *so* ~~no~~", P.format("<strong>yes</strong> and <em>so</em> <s>no</s>")),
    ("# One\n\n### Three", "<h3>One</h3>\n<h5>Three</h5>"),
    ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>"),
    ("a &amp; b < c", P.format("a &amp; b &lt; c")),
    ("main.py and README.md", P.format("main.py and README.md")),
    # Formulas, and what looks like one
    ("costs $5 and $6", P.format("costs $5 and $6")),
    ("from $ 5 to $ 6", P.format("from $ 5 to $ 6")),
    ("5 % of \\$10", P.format("5 % of $10")),
    ("US$/CA$", P.format("US$/CA$")),
    ("PATH=$HOME/bin:$PATH", P.format("PATH=$HOME/bin:$PATH")),
    ("${HOME}/bin:${PATH}", P.format("${HOME}/bin:${PATH}")),
    ("A$5 or HK$30, R$ 20", P.format("A$5 or HK$30, R$ 20")),
    ("$5 more, or R$", P.format("$5 more, or R$")),
    ("in $/kWh or ($/MWh)", P.format("in $/kWh or ($/MWh)")),
    ("$20–$30", P.format("$20–$30")),
    ("5$ or 6$", P.format("5$ or 6$")),
    ("$100k–$200k, ~$20, $50M+", P.format("$100k–$200k, ~$20, $50M+")),
    ("$1,000 to $2,000 per month", P.format("$1,000 to $2,000 per month")),
    ("$0.01/1K in, $0.03/1K out", P.format("$0.01/1K in, $0.03/1K out")),
    ("**$5** and **$10**", P.format("<strong>$5</strong> and <strong>$10</strong>")),
    ("between $5 and $x$", P.format(f"between $5 and {math('x')}")),
    ("R$ 20 a R$ 30", P.format("R$ 20 a R$ 30")),
    ("cost: $5\nother: $6", P.format("cost: $5\nother: $6")),
    ("$('a') and $('b')", P.format("$('a') and $('b')")),
    ("$5-$10, €5 or $6", P.format("$5-$10, €5 or $6")),
    ("\\$5 and $x_{i}$", P.format(f"$5 and {math('x_{i}')}")),
    ("x $$y$$ z", P.format(f"x {math('y')} z")),
    ("$x^2$ and \\(y\\)", P.format(f"{math('x^2')} and {math('y')}")),
    ("$2x$, $3 \\text{ kg}$", P.format(math("2x") + ", " + math("3 \\text{ kg}"))),
    ("價格$x$元", P.format(f"價格{math('x')}元")),
    ("$$\na_1 + b_2\n$$", '<div class="math">a_1 + b_2</div>'),
    ("\\[ x \\]", '<div class="math">x</div>'),
    ("\\begin{align}\na &= b\n\\end{align}", '<div class="math">\\begin{align}a &amp;= b\\end{align}</div>'),
    ("\\begin{equation*}x\\end{equation*}", '<div class="math">\\begin{equation*}x\\end{equation*}</div>'),
    ("\\begin{verbatim}x\\end{verbatim}", P.format("\\begin{verbatim}x\\end{verbatim}")),
    ("$$a\n\n$$c$$", P.format("$$a") + '\n<div class="math">c</div>'),
    # Emphasis beside Chinese, Japanese and Korean
    ("**重點：**後文。", P.format("<strong>重點：</strong>後文。")),
    ("**“引號”**文字", P.format("<strong>“引號”</strong>文字")),
    ("文字**（括號）**文字", P.format("文字<strong>（括號）</strong>文字")),
    ("これは**「重要」**です。", P.format("これは<strong>「重要」</strong>です。")),
    ("이것은 **중요(重要)**합니다", P.format("이것은 <strong>중요(重要)</strong>합니다")),
    ("**𠮷：**後", P.format("<strong>𠮷：</strong>後")),
    ("他說**「好」**。", P.format("他說<strong>「好」</strong>。")),
    ("**日本語。**English", P.format("<strong>日本語。</strong>English")),
    ("*強調。*後文", P.format("<em>強調。</em>後文")),
    ("***重點：***後", P.format("<em><strong>重點：</strong></em>後")),
    ("**30%**的人", P.format("<strong>30%</strong>的人")),
    ("1、**標題：**內容", P.format("1、<strong>標題：</strong>內容")),
    ("**①**項，全形＊＊不是＊＊", P.format("<strong>①</strong>項，全形＊＊不是＊＊")),
    ("**👍：**後 👨‍👩‍👧‍👦 *👍🏽*", P.format("<strong>👍：</strong>後 👨‍👩‍👧‍👦 <em>👍🏽</em>")),
    ("~~刪除。~~後", P.format("<s>刪除。</s>後")),
    ("**a。**b, a**。b**c", P.format("<strong>a。</strong>b, a<strong>。b</strong>c")),
    ("價格是**￥100**元，文**，**文", P.format("價格是<strong>￥100</strong>元，文<strong>，</strong>文")),
    (
        "**「A」**與**「B」**——**重點**——",
        P.format("<strong>「A」</strong>與<strong>「B」</strong>——<strong>重點</strong>——"),
    ),
    ("全形　**重點。**　後**…**後", P.format("全形　<strong>重點。</strong>　後<strong>…</strong>後")),
    ("數字**１２３。**後，（**註**）", P.format("數字<strong>１２３。</strong>後，（<strong>註</strong>）")),
    ("**가나다(라마)**를", P.format("<strong>가나다(라마)</strong>를")),
    ("ｱｲｳ**ｴｵ。**ｶ **テスト？**です", P.format("ｱｲｳ<strong>ｴｵ。</strong>ｶ <strong>テスト？</strong>です")),
    (
        "文**`碼`**文，**`碼`**：後",
        P.format("文<strong><code>碼</code></strong>文，<strong><code>碼</code></strong>：後"),
    ),
    ("文**[連結](https://a.example)**。", P.format(f"文<strong>{link('https://a.example', '連結')}</strong>。")),
    ("文**$x$**文", P.format(f"文<strong>{math('x')}</strong>文")),
    ("*「斜」*後~~（刪）~~後", P.format("<em>「斜」</em>後<s>（刪）</s>後")),
    ("snake_case_名", P.format("snake_case_名")),
    ("a**(b)**c", P.format("a**(b)**c")),
    # Tags
    ("a<br>b<br/>c<BR />d", P.format("a<br>b<br>c<br>d")),
    ("H<sub>2</sub>O, 10<sup>3</sup>, <kbd>Esc</kbd>", P.format("H<sub>2</sub>O, 10<sup>3</sup>, <kbd>Esc</kbd>")),
    ("<b>x</b> <sub class=y>z</sub>", P.format("&lt;b&gt;x&lt;/b&gt; &lt;sub class=y&gt;z")),
    (
        "<details>\n<summary>More *here*</summary>\n\n- a\n\n</details>\n\nafter",
        "<details>\n<summary>More <em>here</em></summary>\n<ul>\n<li>a</li>\n</ul>\n</details>\n<p>after</p>",
    ),
    ("<details open><summary>A</summary>\nb", '<details open="">\n<summary>A</summary>\n<p>b</p>\n</details>'),
    (
        "<details>\n<details>\na\n</details>\nb\n</details>\nc",
        "<details>\n<summary>…</summary>\n<details>\n<summary>…</summary>\n<p>a</p>\n</details>\n<p>b</p>\n</details>\n<p>c</p>",
    ),
    # Links
    ("https://a.example/x.html, yes", P.format(link("https://a.example/x.html", "https://a.example/x.html") + ", yes")),
    ("**https://a.example**", P.format(f"<strong>{link('https://a.example', 'https://a.example')}</strong>")),
    ("（https://a.example）", P.format(f"（{link('https://a.example', 'https://a.example')}）")),
    ("見https://a.example。", P.format(f"見{link('https://a.example', 'https://a.example')}。")),
    ("[x](data:text/html,x) [x](JaVaScRiPt:x)", P.format("[x](data:text/html,x) [x](JaVaScRiPt:x)")),
    ("[x](https://a.example/a b)", P.format(f"[x]({link('https://a.example/a', 'https://a.example/a')} b)")),
    ("mailto:a@b.example", P.format(link("mailto:a@b.example", "mailto:a@b.example"))),
    ("xhttp://a.example", P.format("xhttp://a.example")),
    ("[call](tel:+4312345)", P.format(link("tel:+4312345", "call"))),
    ("[guide](docs/guide.md)", P.format(f"guide{host('docs/guide.md')}")),
    ("[up](#top)", P.format("up")),
    ("[out](//evil.test/x)", P.format(f"out{host('//evil.test/x')}")),
    ("[x](javascript:alert)", P.format("[x](javascript:alert)")),
    # Ideographic spaces at the beginning of a paragraph stay; spaces and tabs are removed
    ("　　第一段。\n　第二行", P.format("　　第一段。\n　第二行")),
    ("  　 a　 \t", P.format("　 a　")),
    ("- 　a\n\n> 　b\n\n# 　c", "<ul>\n<li>　a</li>\n</ul>\n<blockquote>\n<p>　b</p>\n</blockquote>\n<h3>　c</h3>"),
    ("\u2003a\u00a0", P.format("\u2003a&nbsp;")),
    ("　- no list", P.format("　- no list")),
    ("　", P.format("　")),
    ("　\nb\n　", P.format("　\nb\n　")),
    ("a\n　\nb", P.format("a\n　\nb")),
    ("a <u>x</u> <think>hm</think>", P.format("a &lt;u&gt;x&lt;/u&gt; &lt;think&gt;hm&lt;/think&gt;")),
    ("Vec<String>, x < y and y > z", P.format("Vec&lt;String&gt;, x &lt; y and y &gt; z")),
    ("<!-- c --> &lt;b&gt;", P.format("&lt;!-- c --&gt; &lt;b&gt;")),
    ("2 * 3 * 4 and \\*a\\*", P.format("2 * 3 * 4 and *a*")),
    ("snake_case_here, x^2^, ==a==", P.format("snake_case_here, x^2^, ==a==")),
    ("a  \nb\\\nc\r\nd", P.format("a<br>\nb<br>\nc\nd")),
    ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>'),
    ("-a\n1.b\n2. c", P.format("-a\n1.b\n2. c")),
    # A link text that looks like another address
    (
        "[https://bank.test](https://evil.test/)",
        P.format(link("https://evil.test/", "https://bank.test") + host("evil.test")),
    ),
    ("[www.bank.test](https://evil.test/)", P.format(link("https://evil.test/", "www.bank.test") + host("evil.test"))),
    (
        "[bank.test](https://evil.test/bank.test)",
        P.format(link("https://evil.test/bank.test", "bank.test") + host("evil.test")),
    ),
    (
        "[**bank**.test](https://evil.test)",
        P.format(link("https://evil.test", "<strong>bank</strong>.test") + host("evil.test")),
    ),
    (
        "[bank\u200b.test](https://evil.test)",
        P.format(link("https://evil.test", "bank\u200b.test") + host("evil.test")),
    ),
    ("[bank．test](https://evil.test)", P.format(link("https://evil.test", "bank．test") + host("evil.test"))),
    (
        "[bank.test](https://bank.test.evil.test)",
        P.format(link("https://bank.test.evil.test", "bank.test") + host("bank.test.evil.test")),
    ),
    (
        "[https://bank.test](mailto:a@evil.test)",
        P.format(link("mailto:a@evil.test", "https://bank.test") + host("evil.test")),
    ),
    ("https://bank.test@evil.test/", P.format("https://bank.test@evil.test/")),
    (
        "<https://bank.test@evil.test/>",
        P.format(link("https://bank.test@evil.test/", "https://bank.test@evil.test/") + host("evil.test")),
    ),
    (
        "![https://bank.test](https://evil.test/a.png)",
        P.format(link("https://evil.test/a.png", "https://bank.test") + host("evil.test")),
    ),
    ("[bank.test](https://www.bank.test/login)", P.format(link("https://www.bank.test/login", "bank.test"))),
    ("[version 1.10](https://a.example)", P.format(link("https://a.example", "version 1.10"))),
    ("[the page](https://a.example)", P.format(link("https://a.example", "the page"))),
    # Lists and boxes
    ("- [ ] a **b**\n- [x] c", '<ul>\n<li class="task">☐ a <strong>b</strong></li>\n<li class="task">☑ c</li>\n</ul>'),
    ("- [x](https://a.example)", f"<ul>\n<li>{link('https://a.example', 'x')}</li>\n</ul>"),
    (
        "> [!NOTE]\n> Mind it.",
        '<blockquote class="alert note">\n<p class="alert-title">Note</p>\n<p>Mind it.</p>\n</blockquote>',
    ),
    (
        "> [!warning]\n>\n> Mind it.",
        '<blockquote class="alert warning">\n<p class="alert-title">Warning</p>\n<p>Mind it.</p>\n</blockquote>',
    ),
    ("> [!OTHER]\n> x", "<blockquote>\n<p>[!OTHER]\nx</p>\n</blockquote>"),
    (
        "x[^a], y[^a]\n\n[^a]: Said *so*.",
        '<p>x<sup>[1]</sup>, y<sup>[1]</sup></p>\n<div class="footnotes">\n<ol>\n<li><p>Said <em>so</em>.</p>\n</li>\n</ol>\n</div>',
    ),
    ("x[^none]", P.format("x[^none]")),
    # Code
    (
        "```python\nx < 1\n```",
        '<div class="codeblock"><header>python</header><pre class="code"><code data-language="python">x &lt; 1\n</code></pre></div>',
    ),
    (
        "| a | b |\n|:-:|--:|\n| 1<br>2 | 3 |",
        (
            '<div class="x"><table class="grid">\n<thead>\n<tr>\n'
            '<th class="m">a</th>\n<th class="r">b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n'
            '<td class="m">1<br>2</td>\n<td class="r">3</td>\n</tr>\n</tbody>\n</table></div>'
        ),
    ),
]
