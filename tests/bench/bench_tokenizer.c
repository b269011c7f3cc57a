/* bench_tokenizer.c - speed of the tokenizers on one core: English, mixed text and long runs.
 *
 *   bench_tokenizer VOCAB.gguf [TEXT]
 *
 * The English is made from a fixed list of words and of names that no cache has seen; TEXT names a
 * file to measure besides. Each line: what, bytes, seconds (best of three), MB/s, tokens. */
#include <stdio.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/support/vocab.h"

static void measure(const struct tokenizer *t, const char *what, struct bytes text)
{
    double best = 1e9;
    int n = 0;
    for (int i = 0; i < 3; i++) {
        struct tokens out = {0};
        double begin = clock_now();
        if (tokenizer_encode(t, text, 0, &out) != OK) {
            printf("%s: %s\n", what, fail_text());
            return;
        }
        double took = clock_now() - begin;
        best = took < best ? took : best;
        n = out.n;
        tokens_clear(&out);
    }
    printf("%-28s %9zu bytes  %8.4f s  %7.1f MB/s  %8d tokens\n", what, text.n, best,
           (double)text.n / best / 1e6, n);
}

/* Words drawn with the skew of real text: rank r about as often as 1 / r. */
static void english(struct buf *out, size_t n)
{
    static const char *const word[] = {
        "the",        "of",      "and",   "to",       "in",       "is",      "that",
        "it",         "was",     "for",   "on",       "are",      "as",      "with",
        "his",        "they",    "at",    "be",       "this",     "from",    "have",
        "or",         "by",      "one",   "had",      "not",      "but",     "what",
        "all",        "were",    "when",  "we",       "there",    "can",     "an",
        "your",       "which",   "their", "said",     "if",       "do",      "will",
        "each",       "about",   "how",   "up",       "out",      "them",    "then",
        "she",        "many",    "some",  "so",       "these",    "would",   "other",
        "into",       "has",     "more",  "her",      "two",      "like",    "him",
        "see",        "time",    "could", "no",       "make",     "than",    "first",
        "been",       "its",     "who",   "now",      "people",   "my",      "made",
        "over",       "did",     "down",  "only",     "way",      "find",    "use",
        "may",        "water",   "long",  "little",   "very",     "after",   "words",
        "government", "station", "quite", "language", "computer", "because", "through",
        "bandwidth",  "memory",  "model", "sentence", "zygote",   "quixotic"};
    enum { N = sizeof word / sizeof word[0] };
    for (uint64_t i = 0; out->len < n; i++) {
        struct rng_block r = rng_philox(1, i, 0);
        double u = rng_uniform(r.v[0]);
        int k = (int)(N * u * u);
        buf_puts(out, word[k]);
        buf_puts(out, r.v[1] % 11 == 0 ? ". " : r.v[1] % 13 == 0 ? ", " : " ");
        if (r.v[2] % 97 == 0)
            buf_printf(out, "\n\nIn %u it's ", r.v[3] % 2100);
        if (r.v[2] % 5 == 0) /* a name no cache has seen */
            buf_printf(out, "%c%c%c%cson ", 'A' + r.v[3] % 26, 'a' + (r.v[3] >> 8) % 26,
                       'a' + (r.v[3] >> 16) % 26, 'a' + (r.v[3] >> 24) % 26);
    }
}

static void fill(struct buf *out, const char *unit, size_t n)
{
    buf_reset(out);
    while (out->len < n)
        buf_puts(out, unit);
}

static void random_letters(struct buf *out, size_t n)
{
    buf_reset(out);
    for (uint64_t i = 0; out->len < n; i++)
        buf_putc(out, (char)('a' + rng_philox(2, i, 0).v[0] % 26));
}

int main(int argc, char **argv)
{
    struct buf text = {0};
    double begin = clock_now();
    struct tokenizer *t = argc > 1 ? vocab_tokenizer(argv[1]) : NULL;
    if (!t) {
        fprintf(stderr, "usage: bench_tokenizer VOCAB.gguf [TEXT]\n");
        return 1;
    }
    printf("%-28s %9d tokens %8.4f s\n", "load", tokenizer_n_vocab(t), clock_now() - begin);
    if (argc > 2) {
        char *data;
        size_t n;
        if (file_read(argv[2], (size_t)1 << 30, &data, &n) != OK)
            return 1;
        measure(t, argv[2], (struct bytes){data, n});
        xfree(data);
    }
    english(&text, 8000000);
    measure(t, "english, made", (struct bytes){text.data, text.len});
    measure(t, "english, 2 kB", (struct bytes){text.data, 2000});
    static const char *const unit[] = {"a", " ", "\n", ".", "1", "\xe4\xb8\xad", "\xcc\x81"};
    for (size_t i = 0; i < sizeof unit / sizeof unit[0]; i++) {
        char name[32];
        fill(&text, unit[i], 10000000);
        for (size_t n = 1000000; n <= 10000000; n *= 10) {
            snprintf(name, sizeof name, "run of %02x, %zu MB", (unsigned char)unit[i][0],
                     n / 1000000);
            measure(t, name, (struct bytes){text.data, n / strlen(unit[i]) * strlen(unit[i])});
        }
    }
    random_letters(&text, 10000000);
    measure(t, "random letters, 1 MB", (struct bytes){text.data, 1000000});
    measure(t, "random letters, 10 MB", (struct bytes){text.data, 10000000});
    buf_clear(&text);
    tokenizer_free(t);
    return 0;
}
