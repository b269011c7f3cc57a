/* bench_tokenizer.c - speed of the tokenizers on one core: English, mixed text and long runs.
 *
 *   bench_tokenizer VOCAB.gguf|tokenizer.json [TEXT]
 *
 * The English is made from a fixed list of words and of names that no cache has seen; TEXT names a
 * file to measure besides. Each line: what, bytes, seconds of processor time (best of three), MB/s,
 * tokens. Then a table of runs of one character: seconds for 1 MB and 10 MB, and their ratio. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/support/vocab.h"

enum { ROUNDS = 3, LOADS = 10 };

/* Of this thread: what others do on the machine counts less than by the clock. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds, the best of `rounds`; *n gets the tokens. */
static double seconds(const struct tokenizer *t, struct bytes text, int rounds, int *n)
{
    double best = 1e9;
    for (int i = 0; i < rounds; i++) {
        struct tokens out = {0};
        double begin = now();
        if (tokenizer_encode(t, text, 0, &out) != OK)
            printf("%s\n", fail_text());
        double took = now() - begin;
        best = took < best ? took : best;
        *n = out.n;
        tokens_clear(&out);
    }
    return best;
}

static void measure(const struct tokenizer *t, const char *what, struct bytes text)
{
    int n;
    double best = seconds(t, text, ROUNDS, &n);
    printf("%-28s %9zu bytes  %8.4f s  %7.1f MB/s  %8d tokens\n", what, text.n, best,
           (double)text.n / best / 1e6, n);
    fflush(stdout);
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

/* The same character ten times as often: what is not linear shows in the ratio. */
static void runs(const struct tokenizer *t, struct buf *text)
{
    static const struct {
        const char *name, *unit;
    } run[] = {{"blank", " "},
               {"a", "a"},
               {"0", "0"},
               {"newline", "\n"},
               {"CJK", "\xe4\xb8\xad"},
               {"emoji", "\xf0\x9f\x98\x80"},
               {"point", "."},
               {"accent", "\xcc\x81"}};
    enum { MB = 1000000 };
    for (size_t i = 0; i < sizeof run / sizeof run[0]; i++) {
        size_t unit = strlen(run[i].unit);
        int n;
        fill(text, run[i].unit, 10 * MB);
        double one = seconds(t, (struct bytes){text->data, MB / unit * unit}, 2 * ROUNDS, &n);
        double ten = seconds(t, (struct bytes){text->data, 10 * MB / unit * unit}, ROUNDS, &n);
        printf("run of %-10s 1 MB %7.4f s   10 MB %7.4f s   ratio %5.2f   %d tokens\n", run[i].name,
               one, ten, ten / one, n);
        fflush(stdout);
    }
}

static struct tokenizer *load(const char *path)
{
    struct tokenizer *t = NULL;
    double best = 1e9;
    for (int i = 0; i < LOADS; i++) {
        tokenizer_free(t);
        double begin = now();
        t = vocab_tokenizer(path);
        double took = now() - begin;
        best = took < best ? took : best;
    }
    if (t)
        printf("%-28s %9d tokens %8.4f s\n", "load", tokenizer_n_vocab(t), best);
    fflush(stdout);
    return t;
}

int main(int argc, char **argv)
{
    struct buf text = {0};
    struct tokenizer *t = argc > 1 ? load(argv[1]) : NULL;
    if (!t) {
        fprintf(stderr, "usage: bench_tokenizer VOCAB.gguf|tokenizer.json [TEXT]\n");
        return 1;
    }
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
    runs(t, &text);
    random_letters(&text, 10000000);
    measure(t, "random letters, 1 MB", (struct bytes){text.data, 1000000});
    measure(t, "random letters, 10 MB", (struct bytes){text.data, 10000000});
    buf_clear(&text);
    tokenizer_free(t);
    return 0;
}
