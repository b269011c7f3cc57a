/* test_pretok.c - the words each name's rule cuts, and that length has no limit. Agreement on
 * random Unicode with the `tokenizers` package is test_tokenizer.c's matter. */
#include "engine/text/pretok.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/normalizer.h"
#include "engine/text/regex.h"
#include "engine/text/splitter.h"
#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "tests/support/json_fixture.h"
#include "tests/support/test.h"

struct words { /* a rule at work */
    struct pipeline_spec spec;
    struct regex_work *regex;
    struct split_run *run;
    struct buf *got; /* the words with '|' between them */
};
static size_t longest; /* of the words, where only that is asked */

static void add_word(void *to, struct bytes word)
{
    struct buf *got = to;
    if (got->len > 0)
        buf_putc(got, '|');
    buf_append(got, word.p, word.n);
}

static void note_word(void *to, struct bytes word)
{
    (void)to;
    longest = word.n > longest ? word.n : longest;
}

static struct words words_open(const char *name)
{
    struct words w = {.regex = regex_work_new(), .got = xcalloc(1, sizeof *w.got)};
    assert_int_equal(pretok_fill(name, &w.spec), OK);
    w.run = split_run_new(w.spec.splitter, w.regex, add_word, w.got);
    return w;
}

static void words_close(struct words *w)
{
    split_run_free(w->run);
    regex_work_free(w->regex);
    splitter_free(w->spec.splitter);
    normalizer_free(w->spec.normalizer);
    buf_clear(w->got);
    xfree(w->got);
}

/* `cut` is the text with '|' between words. */
static void expect(const char *name, const char *cut)
{
    struct words w = words_open(name);
    struct buf text = {0};
    for (const char *c = cut; *c; c++)
        if (*c != '|')
            buf_putc(&text, *c);
    split_run_text(w.run, (struct bytes){text.data, text.len}, true);
    assert_string_equal(w.got->data, cut);
    buf_clear(&text);
    words_close(&w);
}

static void test_words(void **state)
{
    (void)state;
    expect("gpt-2", "It|'s| 12345|!?|  | a|\n|\n|b|'|S");
    expect(NULL, "a| b| 1234| $| %%|  ");
    expect("smollm", "It|'s| |1|2|3|4|5|!?|  | a|  |7| x");
    expect("llama-bpe", "It|'s| |123|45|!?\n\n|   | a|\n \n| b|'S|.word|\tx");
    expect("qwen2", "It|'s| |1|2|3|!?\n\n|   | a|\n \n| b|'S|.word");
    /* U+180E is no blank (it is to PCRE2's \s), U+0085 and U+3000 are. */
    expect("gpt-2", "a|\xe1\xa0\x8e|b|\xc2\x85|c|\xe3\x80\x80|d");
    /* The long s is an s to (?i: ) */
    expect("qwen2", "a|'\xc5\xbf");
}

static const struct json *next_length; /* of the words that are expected */

static void check_word(void *to, struct bytes word)
{
    if (!next_length || (size_t)next_length->number != word.n)
        print_message("%s: '%.*s'\n", (const char *)to, (int)word.n, word.p);
    assert_non_null(next_length);
    assert_int_equal(word.n, (size_t)next_length->number);
    next_length = next_length->next;
}

/* Each rule cuts as the package does (tests/tools/gen_pretok.py). */
static void test_agreement(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct json *rules = json_fixture(&a, "tests/data/tokenizer/words.json");
    const struct json *texts = json_fixture(&a, "tests/data/tokenizer/json/texts.json");
    assert_int_equal(rules->count, 26);
    for (const struct json *rule = rules->first; rule; rule = rule->next) {
        struct words w = words_open(rule->key);
        struct split_run *run =
            split_run_new(w.spec.splitter, w.regex, check_word, (void *)(uintptr_t)rule->key);
        const struct json *want = rule->first;
        for (const struct json *v = texts->first; v; v = v->next, want = want->next) {
            next_length = want->first;
            split_run_text(run, json_fixture_text(&a, v), true);
            assert_null(next_length);
        }
        split_run_free(run);
        words_close(&w);
    }
    arena_clear(&a);
}

static void test_unknown_name(void **state)
{
    (void)state;
    struct pipeline_spec p = {0};
    assert_int_equal(pretok_fill("gpt-17", &p), ERR_UNSUPPORTED);
    assert_null(p.splitter);
    assert_non_null(strstr(fail_text(), "gpt-17"));
    assert_non_null(strstr(fail_text(), "llama-bpe"));
    assert_null(pretok_rule("gpt-17"));
    assert_true(pretok_rule("llama-bpe")->whole_word);
    assert_true(pretok_rule("qwen2")->nfc);
}

/* One word of 10 MB, whichever branch of the pattern takes it: no limit of PCRE2 is met. */
static void test_long_runs(void **state)
{
    (void)state;
    static const char *const rules[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    static const char unit[] = {'a', ' ', '.', '\n'};
    const size_t n = 10000000;
    char *text = xmalloc(n);
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        struct words w = words_open(rules[r]);
        struct split_run *s = split_run_new(w.spec.splitter, w.regex, note_word, NULL);
        for (size_t u = 0; u < sizeof unit; u++) {
            memset(text, unit[u], n);
            longest = 0;
            split_run_text(s, (struct bytes){text, n}, true);
            assert_int_equal(longest, n);
            text[n - 1] = 'x'; /* the last blank goes with the letter: the run is walked back */
            longest = 0;
            split_run_text(s, (struct bytes){text, n}, true);
            assert_int_equal(longest, unit[u] == 'a'    ? n
                                      : unit[u] == ' '  ? n - 2
                                      : unit[u] == '\n' ? n - (r < 2 ? 2 : 1)
                                                        : n - 1);
        }
        split_run_free(s);
        words_close(&w);
    }
    xfree(text);
}

static void nfc(const char *in, const char *want)
{
    struct buf out = {0};
    bool changed = normal_form(NORMAL_NFC, bytes_of(in), &out);
    assert_string_equal(changed ? out.data : in, want);
    buf_clear(&out);
}

static void test_nfc(void **state)
{
    (void)state;
    nfc("plain \xc3\xa9 \xe4\xb8\xad", "plain \xc3\xa9 \xe4\xb8\xad");
    nfc("e\xcc\x81!", "\xc3\xa9!");
    nfc("\xe2\x84\xab", "\xc3\x85");                             /* the Angstrom sign */
    nfc("a\xcc\x87\xcc\xa3", "\xe1\xba\xa1\xcc\x87");            /* ordered, then composed */
    nfc("\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc");             /* excluded from composition */
    nfc("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c"); /* Hangul */
}

/* A stretch of marks out of order, which sorting by neighbours would take hours for. */
static void test_nfc_hostile(void **state)
{
    (void)state;
    struct buf text = {0}, out = {0};
    buf_putc(&text, 'a');
    for (int i = 0; i < 250000; i++)
        buf_puts(&text, i % 2 ? "\xcc\xa3" : "\xcc\x81");
    assert_true(normal_form(NORMAL_NFC, (struct bytes){text.data, text.len}, &out));
    assert_true(out.len > text.len / 2 && out.len <= text.len);
    buf_clear(&text);
    buf_clear(&out);
}

/* Cutting long text into pieces changes nothing. */
static void test_nfc_long(void **state)
{
    (void)state;
    struct buf text = {0}, want = {0}, out = {0};
    for (int i = 0; i < 30000; i++) {
        buf_puts(&text, "e\xcc\x81 a\xcc\x87\xcc\xa3x");
        buf_puts(&want, "\xc3\xa9 \xe1\xba\xa1\xcc\x87x");
    }
    assert_true(normal_form(NORMAL_NFC, (struct bytes){text.data, text.len}, &out));
    assert_string_equal(out.data, want.data);
    buf_clear(&text);
    buf_clear(&want);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),        cmocka_unit_test(test_agreement),
        cmocka_unit_test(test_unknown_name), cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_nfc),          cmocka_unit_test(test_nfc_hostile),
        cmocka_unit_test(test_nfc_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
