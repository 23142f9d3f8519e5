"""The classes of Glyphs: letters of five scripts that can be told apart.

They were chosen from all letters without a Unicode decomposition that at least 10 of matplotlib's 12 DejaVu
typefaces draw; digraphs and clicks were left out. Drawings in DejaVu Sans are brought to one size and
correlated at their best shift, up to a fourteenth of the image:

1. Two cases of a letter that correlate at 0.9 or more, at 112 x 112 pixels, are one class.
2. Of two classes of one split that reach 0.95, at 28 to 56 pixels, one was dropped.
3. Of two classes of different splits that reach 0.88 at one of these sizes, one was dropped.

The list is frozen, so that a class means the same on every machine; tests/images/test_letters.py holds it to
the rules.
"""
# ruff: noqa: RUF001, SIM905 - other scripts are the point; one string stays readable

LATIN = """
A B D E G H Ii J K L N Oo P Q R Ss T Vv Ww X Y Zz a d e f g h j k m r t u x Æ Ð Ø Þ ß æ ð ø þ Ħ ħ ĸ
Ł ł Ŋŋ Œ œ Ŧ ŧ ƀ Ɓ Ƃ ƃ ƅ Ɔɔ Ƈ ƈ Ɗ Ƌ ƌ ƍ Ǝ Əə Ɛɛ Ƒ ƒ Ɠ Ɣ ƕ Ɩɩ Ɨ Ƙ ƙ ƚ ƛ Ɯ Ɲ ƞ Ƣ ƣ Ƥ ƥ Ʀ Ƨƨ Ʃ ƪ ƫ Ƭ ƭ
Ʈ Ʊ Ʋ Ƴ ƴ Ƶƶ Ʒʒ Ƹƹ ƺ ƻ Ƽ ƽ ƾ ƿ Ƕ Ȝȝ ȡ Ȥ ȥ ȴ ȵ ȶ Ⱥ Ȼ ȼ Ƚ Ⱦ ȿ ɀ Ɂ Ƀ Ʉ Ʌʌ ɍ ɐ ɑ ɒ ɕ ɖ ɗ ɘ ɚ ɜ ɝ ɞ ɟ ɠ ɣ
ɤ ɥ ɦ ɧ ɨ ɪ ɬ ɭ ɮ ɯ ɰ ɱ ɲ ɳ ɴ ɷ ɸ ɹ ɺ ɻ ɼ ɽ ɾ ɿ ʀ ʁ ʂ ʃ ʄ ʅ ʆ ʇ ʈ ʉ ʊ ʋ ʍ ʎ ʏ ʐ ʑ ʓ ʔ ʕ ʖ ʗ ʙ ʚ ʛ ʜ
ʝ ʞ ʟ ʠ ʡ ʢ ʮ ʯ ᴂ ᴈ ᴉ ᴔ ᴝ ᴟ ᵷ ᵻ ᶅ ẟ Ɽ Ɱ Ɐ Ⱶⱶ ⱷ ⱹ ⱺ Ȿ Ɀ ꜧ Ꞑ ꞑ Ɦ
""".split()

CYRILLIC = """
Ђ Єє Љ Њ Ћ Џ Д Жж И Кк Л М Сс У Ц Ч Щщ Ъ Ы Юю Я д и л м ф ц ч ъ ы ь я ђ љ њ ћ џ Ѣ ѣ Ґґ Ғ ғ Ҕҕ Ҙ ҙ Ққ
Ң ң Ҫ ү ұ Ҳ ҳ Һ Ӄӄ Ӈӈ Ӌ Ӷӷ
""".split()

GREEK = """
Δ Ξ Π Φ Ψ Ω α β ζ θ μ ν ξ π ρ ς τ φ χ ψ ω ϗ Ϙ ϙ Ϛ ϛ ϝ Ϟ ϟ Ϡ ϡ Ϻ ϻ ϼ
""".split()

ARMENIAN = """
Ա Բ Գ Դ Ե Զ Է Ը Թ Ժ Ի Խ Ծ Կ Հ Ձ Ղ Ճ Մ Յ Ն Շ Ո Չ Պ Ջ Վ Ր Ւ Ք Ֆ բ գ ե զ է ը թ խ ծ ձ ճ մ ն շ ո չ ջ ռ վ
տ փ ք ֆ
""".split()

GEORGIAN = """
ა ბ გ დ ე ვ ზ თ ი კ ლ მ ნ ო პ ჟ რ ს ტ უ ფ ქ ღ ყ შ ჩ ც ძ წ ჭ ხ ჯ ჰ ჱ ჲ ჳ ჴ ჵ ჶ ჷ ჸ ჹ ჺ
""".split()

SPLIT_OF_SCRIPT = {
    "Latin": "train",
    "Cyrillic": "val",
    "Greek": "test",
    "Armenian": "test",
    "Georgian": "test",
}
CLASSES: dict[str, list[str]] = {
    "Latin": LATIN,
    "Cyrillic": CYRILLIC,
    "Greek": GREEK,
    "Armenian": ARMENIAN,
    "Georgian": GEORGIAN,
}
"""Script -> classes; a class is a letter, or the two cases of one."""
