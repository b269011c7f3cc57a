/* json_parts.c - for each of the three parts a table from the names of types to functions. A
 * "Sequence" is its members, one after the other. */
#include "engine/text/json_parts.h"

#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/decoder.h"
#include "engine/text/normalizer.h"
#include "engine/text/regex.h"
#include "engine/text/splitter.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

static const struct bytes NONE = {"", 0};

struct bytes json_text(const struct json *object, const char *key, const char *absent)
{
    const struct json *v = json_get(object, key);
    return json_is(v, JSON_STRING) ? v->text : bytes_of(absent);
}

bool json_flag(const struct json *object, const char *key, bool absent)
{
    const struct json *v = json_get(object, key);
    return json_is(v, JSON_BOOL) ? v->boolean : absent;
}

static int number(const struct json *object, const char *key, int absent)
{
    int64_t n;
    return json_integer(json_get(object, key), &n) && n >= 0 && n < 1 << 20 ? (int)n : absent;
}

/* --- types --- */

struct type {
    const char *name;
    enum status (*add)(const struct json *part, void *to, int number);
    int number; /* for the function */
};

/* Adds what `part` says, by the table; Sequences have their members under `members`. */
static enum status add_part(const struct json *part, const struct type *type, const char *what,
                            const char *members, void *to)
{
    if (!part || part->type == JSON_NULL)
        return OK;
    struct bytes name = json_text(part, "type", "");
    if (bytes_equal(name, "Sequence")) {
        const struct json *list = json_get(part, members);
        if (!json_is(list, JSON_ARRAY))
            return fail(ERR_FORMAT, "%s: a Sequence without \"%s\"", what, members);
        for (const struct json *p = list->first; p; p = p->next)
            TRY(add_part(p, type, what, members, to));
        return OK;
    }
    struct buf known = {0};
    for (; type->name; type++) {
        if (bytes_equal(name, type->name)) {
            buf_clear(&known);
            enum status s = type->add(part, to, type->number);
            return s == OK ? OK : fail_in(s, "%s %s", what, type->name);
        }
        buf_printf(&known, ", %s", type->name);
    }
    enum status s =
        fail(ERR_UNSUPPORTED, "%s of type '%.*s' is not supported; known are Sequence%s", what,
             (int)(name.n < 64 ? name.n : 64), name.p, known.data);
    buf_clear(&known);
    return s;
}

/* {"String": "..."} or {"Regex": "..."}; old files have a string. */
static enum status read_pattern(const struct json *part, struct bytes *text, bool *regex)
{
    const struct json *p = json_get(part, "pattern");
    const struct json *r = json_get(p, "Regex"), *s = json_get(p, "String");
    const struct json *v = json_is(p, JSON_STRING) ? p : r ? r : s;
    *regex = v && v == r;
    if (!json_is(v, JSON_STRING))
        return fail(ERR_FORMAT, "its pattern is neither a String nor a Regex");
    *text = v->text;
    return OK;
}

/* --- normalisers --- */

static enum status add_plain(const struct json *part, void *to, int kind)
{
    (void)part;
    return normalizer_add(to, (enum normal_kind)kind, 0, NONE, NONE);
}

static enum status add_form(const struct json *part, void *to, int form)
{
    (void)part;
    return normalizer_add(to, NORMAL_FORM, form, NONE, NONE);
}

static enum status add_strip(const struct json *part, void *to, int unused)
{
    (void)unused;
    int where = (json_flag(part, "strip_left", true) ? STRIP_LEFT : 0) |
                (json_flag(part, "strip_right", true) ? STRIP_RIGHT : 0);
    return normalizer_add(to, NORMAL_STRIP, where, NONE, NONE);
}

static enum status add_replace(const struct json *part, void *to, int unused)
{
    struct bytes pattern;
    bool regex;
    (void)unused;
    TRY(read_pattern(part, &pattern, &regex));
    struct bytes content = json_text(part, "content", "");
    return regex ? normalizer_add_regex(to, pattern, content)
                 : normalizer_add(to, NORMAL_REPLACE, 0, pattern, content);
}

static enum status add_prepend(const struct json *part, void *to, int unused)
{
    (void)unused;
    return normalizer_add(to, NORMAL_PREPEND, 0, NONE, json_text(part, "prepend", ""));
}

static enum status add_bert(const struct json *part, void *to, int unused)
{
    (void)unused;
    bool lower = json_flag(part, "lowercase", true);
    int how = (json_flag(part, "clean_text", true) ? BERT_CLEAN : 0) |
              (json_flag(part, "handle_chinese_chars", true) ? BERT_IDEOGRAPHS : 0) |
              (json_flag(part, "strip_accents", lower) ? BERT_ACCENTS : 0) |
              (lower ? BERT_LOWERCASE : 0);
    return normalizer_add(to, NORMAL_BERT, how, NONE, NONE);
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *d = c ? strchr(digits, c) : NULL;
    return d ? (int)(d - digits) : -1;
}

bool json_base64(struct bytes code, struct buf *out)
{
    unsigned bits = 0;
    int n_bits = 0;
    for (size_t i = 0; i < code.n && code.p[i] != '='; i++) {
        int digit = base64_digit(code.p[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (unsigned)digit;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            buf_putc(out, (char)(bits >> n_bits & 0xff));
        }
    }
    return true;
}

static enum status decode_charsmap(const struct json *part, struct buf *out)
{
    return json_base64(json_text(part, "precompiled_charsmap", ""), out)
               ? OK
               : fail(ERR_FORMAT, "precompiled_charsmap is not base64");
}

static enum status add_charsmap(const struct json *part, void *to, int unused)
{
    struct buf table = {0};
    (void)unused;
    enum status s = decode_charsmap(part, &table);
    if (s == OK && table.len > 0)
        s = normalizer_add(to, NORMAL_CHARSMAP, 0, (struct bytes){table.data, table.len}, NONE);
    buf_clear(&table);
    return s;
}

enum status json_charsmap(const struct json *part, struct buf *out)
{
    const struct json *list = json_get(part, "normalizers");
    for (const struct json *p = json_is(list, JSON_ARRAY) ? list->first : NULL; p; p = p->next)
        TRY(json_charsmap(p, out));
    return decode_charsmap(part, out);
}

enum status json_normalizer(const struct json *part, struct normalizer *n)
{
    /* clang-format off */
    static const struct type types[] = {
        {"NFC",            add_form,     NORMAL_NFC},
        {"NFD",            add_form,     NORMAL_NFD},
        {"NFKC",           add_form,     NORMAL_NFKC},
        {"NFKD",           add_form,     NORMAL_NFKD},
        {"Lowercase",      add_plain,    NORMAL_LOWERCASE},
        {"StripAccents",   add_plain,    NORMAL_STRIP_ACCENTS},
        {"Nmt",            add_plain,    NORMAL_NMT},
        {"ByteLevel",      add_plain,    NORMAL_BYTES},
        {"Strip",          add_strip,    0},
        {"Replace",        add_replace,  0},
        {"Prepend",        add_prepend,  0},
        {"BertNormalizer", add_bert,     0},
        {"Precompiled",    add_charsmap, 0},
        {0},
    };
    /* clang-format on */
    return add_part(part, types, "normalizer", "normalizers", n);
}

/* --- pre-tokenizers --- */

static const struct {
    const char *name;
    enum cut cut;
} cuts[] = {
    {"Removed", CUT_REMOVED},
    {"Isolated", CUT_ISOLATED},
    {"MergedWithPrevious", CUT_MERGED_PREVIOUS},
    {"MergedWithNext", CUT_MERGED_NEXT},
    {"Contiguous", CUT_CONTIGUOUS},
};

static enum status read_cut(const struct json *part, const char *absent, enum cut *out)
{
    struct bytes name = json_text(part, "behavior", absent);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++)
        if (bytes_equal(name, cuts[i].name)) {
            *out = cuts[i].cut;
            return OK;
        }
    return fail(ERR_UNSUPPORTED, "behavior '%.*s' is not supported",
                (int)(name.n < 64 ? name.n : 64), name.p);
}

static enum status add_byte_level(const struct json *part, void *to, int unused)
{
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                               "|\\s+(?!\\S)|\\s+";
    (void)unused;
    if (json_flag(part, "add_prefix_space", true))
        TRY(splitter_add_blank(to));
    if (json_flag(part, "use_regex", true))
        TRY(splitter_add_regex(to, bytes_of(gpt2), true, CUT_ISOLATED, false));
    return splitter_add_bytes(to);
}

static enum status add_split(const struct json *part, void *to, int unused)
{
    struct bytes pattern;
    bool regex, inverted = json_flag(part, "invert", false);
    enum cut cut;
    (void)unused;
    TRY(read_pattern(part, &pattern, &regex));
    TRY(read_cut(part, "Isolated", &cut));
    return regex ? splitter_add_regex(to, pattern, true, cut, inverted)
                 : splitter_add_text(to, pattern, cut, inverted);
}

/* Rust's \w has the joiners besides Oniguruma's. */
static enum status add_whitespace(const struct json *part, void *to, int unused)
{
    static const char words[] =
        "[" REGEX_WORD "\\x{200c}\\x{200d}]+|[^" REGEX_WORD "\\x{200c}\\x{200d}" REGEX_WHITE "]+";
    (void)part;
    (void)unused;
    return splitter_add_regex(to, bytes_of(words), false, CUT_REMOVED, true);
}

static enum status add_whitespace_split(const struct json *part, void *to, int unused)
{
    (void)part;
    (void)unused;
    return splitter_add_chars(to, char_is_white, CUT_REMOVED);
}

static enum status add_punctuation(const struct json *part, void *to, int unused)
{
    enum cut cut;
    (void)unused;
    TRY(read_cut(part, "Isolated", &cut));
    return splitter_add_chars(to, char_is_punctuation, cut);
}

static enum status add_bert_split(const struct json *part, void *to, int unused)
{
    TRY(add_whitespace_split(part, to, unused));
    return splitter_add_chars(to, char_is_punctuation, CUT_ISOLATED);
}

static enum status add_digits(const struct json *part, void *to, int unused)
{
    (void)unused;
    return splitter_add_chars(to, char_is_number,
                              json_flag(part, "individual_digits", false) ? CUT_ISOLATED
                                                                          : CUT_CONTIGUOUS);
}

static enum status read_prepend(const struct json *part, enum prepend *out)
{
    struct bytes scheme = json_text(part, "prepend_scheme", "always");
    *out = bytes_equal(scheme, "first")   ? PREPEND_FIRST
           : bytes_equal(scheme, "never") ? PREPEND_NEVER
                                          : PREPEND_ALWAYS;
    if (!json_flag(part, "add_prefix_space", true))
        *out = PREPEND_NEVER;
    if (*out == PREPEND_ALWAYS && !bytes_equal(scheme, "always"))
        return fail(ERR_UNSUPPORTED, "prepend_scheme '%.*s' is not supported",
                    (int)(scheme.n < 64 ? scheme.n : 64), scheme.p);
    return OK;
}

static enum status add_metaspace(const struct json *part, void *to, int unused)
{
    struct bytes replacement = json_text(part, "replacement", "\xe2\x96\x81");
    enum prepend prepend;
    (void)unused;
    TRY(read_prepend(part, &prepend));
    TRY(splitter_add_meta(to, replacement, prepend));
    return json_flag(part, "split", true)
               ? splitter_add_text(to, replacement, CUT_MERGED_NEXT, false)
               : OK;
}

static enum status add_delimiter(const struct json *part, void *to, int unused)
{
    struct bytes delimiter = json_text(part, "delimiter", "");
    (void)unused;
    if (delimiter.n == 0)
        return fail(ERR_FORMAT, "it has no delimiter");
    return splitter_add_text(to, delimiter, CUT_REMOVED, false);
}

static enum status add_length(const struct json *part, void *to, int unused)
{
    (void)unused;
    return splitter_add_length(to, number(part, "length", 5));
}

static const char scripts[] =
    "Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah "
    "Batak Bengali Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal "
    "Carian Caucasian_Albanian Chakma Cham Cherokee Common Coptic Cuneiform Cypriot "
    "Cyrillic Deseret Devanagari Duployan Egyptian_Hieroglyphs Elbasan Ethiopic Georgian "
    "Glagolitic Gothic Grantha Greek Gujarati Gurmukhi Hangul Hanunoo Hatran Hebrew "
    "Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese "
    "Kaithi Kannada Kayah_Li Kharoshthi Khmer Khojki Khudawadi Lao Latin Lepcha Limbu "
    "Linear_A Linear_B Lisu Lycian Lydian Mahajani Malayalam Mandaic Manichaean Marchen "
    "Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian "
    "Mro Multani Myanmar Nabataean New_Tai_Lue Newa Nko Ogham Ol_Chiki Old_Hungarian "
    "Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_South_Arabian Old_Turkic "
    "Oriya Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician "
    "Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham "
    "SignWriting Sinhala Sora_Sompeng Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa "
    "Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangut Telugu Thaana Thai Tibetan Tifinagh "
    "Tirhuta Ugaritic Vai Warang_Citi Yi";

/* Stretches of one script; kana count as Han, blanks and unassigned characters belong to any. */
static enum status add_scripts(const struct json *part, void *to, int unused)
{
    static const char han[] = "\\p{sc:Han}\\p{sc:Hiragana}\\p{sc:Katakana}\\x{30fc}";
    struct buf pattern = {0};
    (void)part;
    (void)unused;
    buf_printf(&pattern, "[%s][%s \\p{sc:Unknown}]*", han, han);
    for (const char *p = scripts; *p; p += strspn(p, " ")) {
        int n = (int)strcspn(p, " ");
        buf_printf(&pattern,
                   "|(?![ \\x{30fc}])\\p{sc:%.*s}(?:(?!\\x{30fc})[\\p{sc:%.*s} \\p{sc:Unknown}])*",
                   n, p, n, p);
        p += n;
    }
    enum status s =
        splitter_add_regex(to, (struct bytes){pattern.data, pattern.len}, false, CUT_REMOVED, true);
    buf_clear(&pattern);
    return s;
}

enum status json_splitter(const struct json *part, struct splitter *s)
{
    /* clang-format off */
    static const struct type types[] = {
        {"ByteLevel",          add_byte_level,       0},
        {"Split",              add_split,            0},
        {"Whitespace",         add_whitespace,       0},
        {"WhitespaceSplit",    add_whitespace_split, 0},
        {"Punctuation",        add_punctuation,      0},
        {"Digits",             add_digits,           0},
        {"Metaspace",          add_metaspace,        0},
        {"BertPreTokenizer",   add_bert_split,       0},
        {"CharDelimiterSplit", add_delimiter,        0},
        {"FixedLength",        add_length,           0},
        {"UnicodeScripts",     add_scripts,          0},
        {0},
    };
    /* clang-format on */
    return add_part(part, types, "pre_tokenizer", "pretokenizers", s);
}

/* --- decoders --- */

static enum status decode_plain(const struct json *part, void *to, int kind)
{
    (void)part;
    return decoder_add(to, (enum decode_kind)kind, 0, NONE, NONE);
}

static enum status decode_strip(const struct json *part, void *to, int unused)
{
    (void)unused;
    if (number(part, "stop", 0) > 0)
        return fail(ERR_UNSUPPORTED, "stripping the end of a text is not supported");
    return decoder_add(to, DECODE_STRIP, number(part, "start", 0), json_text(part, "content", " "),
                       NONE);
}

static enum status decode_replace(const struct json *part, void *to, int unused)
{
    struct normalizer *n = normalizer_new();
    enum status s = add_replace(part, n, unused);
    if (s == OK)
        return decoder_add_replace(to, n);
    normalizer_free(n);
    return s;
}

static enum status decode_metaspace(const struct json *part, void *to, int unused)
{
    enum prepend prepend;
    (void)unused;
    TRY(read_prepend(part, &prepend));
    return decoder_add(to, DECODE_META, prepend != PREPEND_NEVER,
                       json_text(part, "replacement", "\xe2\x96\x81"), NONE);
}

static enum status decode_wordpiece(const struct json *part, void *to, int unused)
{
    (void)unused;
    return decoder_add(to, DECODE_WORDPIECE, json_flag(part, "cleanup", true),
                       json_text(part, "prefix", "##"), NONE);
}

static enum status decode_suffix(const struct json *part, void *to, int unused)
{
    (void)unused;
    return decoder_add(to, DECODE_SUFFIX, 0, json_text(part, "suffix", "</w>"), NONE);
}

static enum status decode_ctc(const struct json *part, void *to, int unused)
{
    (void)unused;
    return decoder_add(to, DECODE_CTC, json_flag(part, "cleanup", true),
                       json_text(part, "pad_token", "<pad>"),
                       json_text(part, "word_delimiter_token", "|"));
}

enum status json_decoder(const struct json *part, struct decoder *d)
{
    /* clang-format off */
    static const struct type types[] = {
        {"ByteLevel",    decode_plain,     DECODE_BYTES},
        {"ByteFallback", decode_plain,     DECODE_FALLBACK},
        {"Fuse",         decode_plain,     DECODE_FUSE},
        {"Strip",        decode_strip,     0},
        {"Replace",      decode_replace,   0},
        {"Metaspace",    decode_metaspace, 0},
        {"WordPiece",    decode_wordpiece, 0},
        {"BPEDecoder",   decode_suffix,    0},
        {"CTC",          decode_ctc,       0},
        {0},
    };
    /* clang-format on */
    return add_part(part, types, "decoder", "decoders", d);
}

char *json_hide_nul(struct bytes text)
{
    char *copy = xmalloc(text.n + 1), *p = copy;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    while ((p = memmem(p, text.n - (size_t)(p - copy), "\\u0000", 6))) {
        size_t slashes = 1;
        while (p - copy >= (ptrdiff_t)slashes && p[-(ptrdiff_t)slashes] == '\\')
            slashes++;
        if (slashes % 2 == 1)
            memcpy(p, "\\ufffe", 6);
        p += 6;
    }
    return copy;
}
