/* pretok.c - the pre-tokenizers that GGUF files name, as patterns: PCRE2's, matched one word after
 * the other.
 *
 * Patterns say what the models' tokenizer.json say. All consist of repeated single characters
 * without nested repeats, and so need neither much JIT stack nor recursion, however long the text.
 */
#include "engine/text/pretok.h"

#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/normalizer.h"
#include "engine/text/regex.h"
#include "engine/text/splitter.h"

#define SPACES     "[" REGEX_WHITE "]"
#define OTHER      "[^" REGEX_WHITE "\\p{L}\\p{N}]" /* punctuation, marks, symbols, controls */
#define SUFFIX     "'s|'t|'re|'ve|'m|'ll|'d|"
#define ANY_SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define TAIL       SPACES "*[\\r\\n]+|" SPACES "+(?![^" REGEX_WHITE "])|" SPACES "+"

#define GPT2 SUFFIX " ?\\p{L}+| ?\\p{N}+| ?" OTHER "+|" SPACES "+(?![^" REGEX_WHITE "])|" SPACES "+"
/* Digits are split off one by one before GPT-2's rule sees the rest, so a digit ends a stretch of
 * blanks as the end of the text does. */
#define DIGITS                                                                                     \
    SUFFIX " ?\\p{L}+|\\p{N}| ?" OTHER "+|" SPACES "+(?![^" REGEX_WHITE "\\p{N}])|" SPACES "+"
#define LLAMA3 ANY_SUFFIX "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?" OTHER "+[\\r\\n]*|" TAIL
#define QWEN2  ANY_SUFFIX "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?" OTHER "+[\\r\\n]*|" TAIL

/* clang-format off */
static const struct row {
    const char *name, *pattern;
    struct pretok_rule rule; /*  whole_word  nfc    add_bos */
} rows[] = {
    {"default",          GPT2,   {false,     false, false}},
    {"gpt-2",            GPT2,   {false,     false, false}},
    {"phi-2",            GPT2,   {false,     false, false}},
    {"smollm",           DIGITS, {false,     false, false}},
    {"starcoder",        DIGITS, {false,     false, false}},
    {"refact",           DIGITS, {false,     false, false}},
    {"codeshell",        DIGITS, {false,     false, false}},
    {"llama-bpe",        LLAMA3, {true,      false, true }},
    {"llama3",           LLAMA3, {true,      false, true }},
    {"llama-v3",         LLAMA3, {true,      false, true }},
    {"falcon3",          LLAMA3, {true,      false, true }},
    {"pixtral",          LLAMA3, {true,      false, true }},
    {"lfm2",             LLAMA3, {true,      false, true }},
    {"smaug-bpe",        LLAMA3, {false,     false, false}},
    {"dbrx",             LLAMA3, {false,     false, false}},
    {"qwen2",            QWEN2,  {false,     true,  false}},
    {"deepseek-r1-qwen", QWEN2,  {false,     true,  false}},
    {"stablelm2",        QWEN2,  {false,     false, false}},
};
/* clang-format on */
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static const struct row *find_row(const char *name)
{
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].name, name ? name : "default") == 0)
            return &rows[i];
    return NULL;
}

const struct pretok_rule *pretok_rule(const char *name)
{
    const struct row *row = find_row(name);
    return row ? &row->rule : NULL;
}

static enum status unknown(const char *name)
{
    struct buf list = {0};
    for (int i = 0; i < N_ROWS; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", rows[i].name);
    enum status s =
        fail(ERR_UNSUPPORTED, "pre-tokenizer '%s' is not supported; known are %s", name, list.data);
    buf_clear(&list);
    return s;
}

enum status pretok_fill(const char *name, struct pipeline_spec *p)
{
    const struct row *row = find_row(name);
    if (!row)
        return unknown(name);
    p->splitter = splitter_new();
    TRY(splitter_add_regex(p->splitter, bytes_of(row->pattern), false, CUT_ISOLATED, false));
    p->whole_word = row->rule.whole_word;
    if (!row->rule.nfc)
        return OK;
    p->normalizer = normalizer_new();
    return normalizer_add(p->normalizer, NORMAL_FORM, NORMAL_NFC, (struct bytes){0},
                          (struct bytes){0});
}
