/* kind.c - THE table of tokenizer.ggml.model. A kind is a spelling of tokens and the parts that
 * pipeline.c runs; what the file says besides (spaces, case, a table of characters) goes into the
 * parts, so that nothing behind this file asks for a kind. */
#include "engine/text/kind.h"

#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/decoder.h"
#include "engine/text/normalizer.h"
#include "engine/text/pretok.h"
#include "engine/text/splitter.h"
#include "engine/text/spm.h"

#define BLANK "\xe2\x96\x81" /* U+2581, SentencePiece's blank */
static const struct bytes NONE = {"", 0};

void spell_raw(struct bytes spelling, enum token_type type, struct buf *out)
{
    (void)type;
    buf_append(out, spelling.p, spelling.n);
}

void spell_bytes(struct bytes spelling, enum token_type type, struct buf *out)
{
    bool raw = type == TOKEN_CONTROL || type == TOKEN_UNKNOWN || type == TOKEN_USER;
    if (raw || !alphabet_decode(spelling, out))
        buf_append(out, spelling.p, spelling.n);
}

/* "\u2581x" begins a word, "x" continues one; a model looks up "x" and "##x". */
static void spell_bert(struct bytes spelling, enum token_type type, struct buf *out)
{
    const size_t n = sizeof BLANK - 1;
    bool begins = spelling.n > n && memcmp(spelling.p, BLANK, n) == 0;
    bool raw = type == TOKEN_CONTROL || type == TOKEN_UNKNOWN || type == TOKEN_USER;
    if (!raw && !begins)
        buf_puts(out, "##");
    buf_append(out, spelling.p + (begins ? n : 0), spelling.n - (begins ? n : 0));
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte as Python writes it: "a", "\\n", "\\xe4". Returns how long its spelling is. */
static size_t unescape(const char *s, size_t n, struct buf *out)
{
    static const char name[] = "tnr", means[] = "\t\n\r";
    if (n < 2 || s[0] != '\\') {
        buf_putc(out, s[0]);
        return 1;
    }
    if (n >= 4 && s[1] == 'x' && hex_digit(s[2]) >= 0 && hex_digit(s[3]) >= 0) {
        buf_putc(out, (char)(16 * hex_digit(s[2]) + hex_digit(s[3])));
        return 4;
    }
    const char *known = memchr(name, s[1], sizeof name - 1);
    buf_putc(out, known ? means[known - name] : s[1]);
    return 2;
}

static void spell_rwkv(struct bytes spelling, enum token_type type, struct buf *out)
{
    if (type != TOKEN_NORMAL)
        return spell_raw(spelling, type, out);
    for (size_t i = 0; i < spelling.n;)
        i += unescape(spelling.p + i, spelling.n - i, out);
}

static enum status prepare_gpt2(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    p->bytes = p->vanish = true;
    return pretok_fill(spec->pre, p);
}

/* What SentencePiece does to a text first. */
static enum status clean(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    p->normalizer = normalizer_new();
    if (spec->charsmap.n > 0)
        TRY(normalizer_add(p->normalizer, NORMAL_CHARSMAP, 0, spec->charsmap, NONE));
    if (!spec->one_space)
        return OK;
    TRY(normalizer_add_regex(p->normalizer, bytes_of(" {2,}"), (struct bytes){" ", 1}));
    return normalizer_add_regex(p->normalizer, bytes_of("\\A | \\z"), NONE);
}

/* Blanks stand for U+2581 in tokens and in text alike. */
static enum status prepare_llama(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    const struct bytes blank = {" ", 1};
    p->from_scores = p->byte_fallback = true;
    TRY(clean(spec, p));
    TRY(normalizer_add(p->normalizer, NORMAL_REPLACE, 0, bytes_of(BLANK), blank));
    return spec->add_space_prefix ? normalizer_add(p->normalizer, NORMAL_PREPEND, 0, NONE, blank)
                                  : OK;
}

static enum status decode_blanks(struct pipeline_spec *p, bool first_too)
{
    p->decoder = decoder_new();
    TRY(decoder_add(p->decoder, DECODE_META, !first_too, bytes_of(BLANK), NONE));
    return decoder_add(p->decoder, DECODE_FALLBACK, 0, NONE, NONE);
}

/* BPE over characters, a blank being U+2581; the text is one word. */
static enum status prepare_gemma4(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    (void)spec;
    p->byte_fallback = true;
    p->normalizer = normalizer_new();
    TRY(normalizer_add(p->normalizer, NORMAL_REPLACE, 0, (struct bytes){" ", 1}, bytes_of(BLANK)));
    return decode_blanks(p, true);
}

static enum status prepare_bert(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    int how = BERT_CLEAN | BERT_IDEOGRAPHS | (spec->strip_accents ? BERT_ACCENTS : 0) |
              (spec->lowercase ? BERT_LOWERCASE : 0);
    p->kind = WORD_PIECE;
    p->prefix = bytes_of("##");
    p->normalizer = normalizer_new();
    p->splitter = splitter_new();
    TRY(normalizer_add(p->normalizer, NORMAL_BERT, how, NONE, NONE));
    TRY(splitter_add_chars(p->splitter, char_is_white, CUT_REMOVED));
    TRY(splitter_add_chars(p->splitter, char_is_punctuation, CUT_ISOLATED));
    return decode_blanks(p, false);
}

/* BPE over the characters of words; blanks go. */
static enum status prepare_whitespace(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    p->vanish = true;
    p->normalizer = normalizer_new();
    if (spec->lowercase)
        TRY(normalizer_add(p->normalizer, NORMAL_LOWERCASE, 0, NONE, NONE));
    p->splitter = splitter_new();
    return splitter_add_chars(p->splitter, char_is_white, CUT_REMOVED);
}

static enum status prepare_t5(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    const struct bytes blank = {" ", 1};
    p->kind = WORD_UNIGRAM;
    p->byte_fallback = true;
    TRY(clean(spec, p));
    if (spec->add_space_prefix)
        TRY(normalizer_add(p->normalizer, NORMAL_PREPEND, 0, NONE, blank));
    TRY(normalizer_add(p->normalizer, NORMAL_REPLACE, 0, blank, bytes_of(BLANK)));
    return decode_blanks(p, !spec->add_space_prefix);
}

static enum status prepare_rwkv(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    (void)spec;
    p->kind = WORD_LONGEST;
    p->as_is = true;
    return OK;
}

static enum status prepare_plamo2(const struct tokenizer_spec *spec, struct pipeline_spec *p)
{
    (void)spec;
    p->kind = WORD_PLAMO;
    p->decoder = decoder_new();
    return decoder_add(p->decoder, DECODE_FALLBACK, 0, NONE, NONE);
}

/* clang-format off */
static const struct kind kinds[] = {
    /*                                      bos    eos    sep */
    {"gpt2",   spell_bytes, prepare_gpt2,   {false, false, false}}, /* unless the rule says so */
    {"llama",  spm_spell,   prepare_llama,  {true,  false, false}},
    {"gemma4", spell_raw,   prepare_gemma4, {true,  false, false}},
    {"bert",   spell_bert,  prepare_bert,   {true,  false, true }},
    {"t5",     spell_raw,   prepare_t5,     {false, true,  false}},
    {"rwkv",   spell_rwkv,  prepare_rwkv,   {false, false, false}},
    {"plamo2", spell_raw,   prepare_plamo2, {false, false, false}},
    {"whitespace", spell_raw, prepare_whitespace, {false, false, false}},
};
/* clang-format on */
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* Some names of pre-tokenizers say more than how words are cut. */
static bool is_like_gemma4(const char *pre)
{
    static const char *const name[] = {"gemma4", "granite-embed-multi-311m", "sarvam-moe"};
    for (size_t i = 0; pre && i < sizeof name / sizeof name[0]; i++)
        if (strcmp(name[i], pre) == 0)
            return true;
    return false;
}

const struct kind *kind_find(const char *model, const char *pre)
{
    if (model && strcmp(model, "gpt2") == 0 && is_like_gemma4(pre))
        model = "gemma4";
    for (int i = 0; model && i < N_KINDS; i++)
        if (strcmp(kinds[i].model, model) == 0)
            return &kinds[i];
    return NULL;
}

enum status kind_unknown(const char *model)
{
    struct buf list = {0};
    for (int i = 0; i < N_KINDS; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", kinds[i].model);
    enum status s = fail(ERR_UNSUPPORTED, "tokenizer model '%s' is not supported; known are %s",
                         model ? model : "(none)", list.data);
    buf_clear(&list);
    return s;
}

struct tokenizer_policy tokenizer_default_policy(const char *model, const char *pre)
{
    const struct kind *kind = kind_find(model, pre);
    const struct pretok_rule *rule = pretok_rule(pre);
    struct tokenizer_policy policy = kind ? kind->policy : (struct tokenizer_policy){0};
    if (kind && kind->prepare == prepare_gpt2 && rule) {
        policy.bos = rule->add_bos || rule->add_sep;
        policy.sep = rule->add_sep;
    }
    return policy;
}
