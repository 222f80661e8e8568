"""From text to pre-tokens, the units that no merge may cross.

pattern          GPT-2's pattern, by the `regex` package and by a kernel that reads one character at a time
vector           the same pattern, 64 bytes at a time; it may be deleted if speed does not matter
unicode_classes  the frozen table of letters, numbers and whitespace
batches          up to 512 pre-tokens at a time, special tokens among them
text             text as the kernels read it: UTF-8 bytes in padded arrays
specials         special tokens: which they are
search           where special tokens occur in a text
chunks           a stream of any size in pieces that can be processed apart

The kernels here have arguments in common:

text, begin, end  the text is text[begin:end]; `text` is uint8 [>= end + PADDING], see `text.PADDING`
classes           the class of every code point, uint8 [0x110000], see `unicode_classes.class_table`
starts            int64 [STARTS_CAPACITY]: it receives the indices in `text` where pre-tokens begin

Read `pattern` first: it holds the property that everything rests on.
"""
