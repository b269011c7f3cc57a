/* stop.c - each byte of new text may end a stop word that began in what was held. The text is
 * searched as a whole (held + new): stop words are few and short, and at most their length is held.
 *
 * Invariant: `held` is the longest end of the text that begins some word and is not all of it. */
#include "engine/text/stop.h"

#include <string.h>

void stop_init(struct stop *s, const struct bytes *word, int n_words)
{
    *s = (struct stop){.word = word, .n_words = n_words};
}

void stop_clear(struct stop *s)
{
    buf_clear(&s->held);
}

/* The word that is found first: the one that ends earliest, of those the one that began first. */
static int find_first(const struct stop *s, struct bytes text, size_t *begin)
{
    int found = -1;
    size_t end = text.n + 1;
    for (int i = 0; i < s->n_words; i++) {
        struct bytes w = s->word[i];
        const char *p = memmem(text.p, text.n, w.p, w.n);
        size_t at = p ? (size_t)(p - text.p) : 0;
        if (!p || at + w.n > end || (at + w.n == end && at >= *begin))
            continue;
        found = i;
        *begin = at;
        end = at + w.n;
    }
    return found;
}

/* Length of the longest end of text that is a beginning of a word. */
static size_t undecided(const struct stop *s, struct bytes text)
{
    size_t longest = 0;
    for (int i = 0; i < s->n_words; i++) {
        struct bytes w = s->word[i];
        size_t k = w.n - 1 < text.n ? w.n - 1 : text.n;
        while (k > longest && memcmp(text.p + text.n - k, w.p, k) != 0)
            k--;
        longest = k > longest ? k : longest;
    }
    return longest;
}

bool stop_push(struct stop *s, struct bytes text, bool include, struct buf *out, int *which)
{
    if (s->n_words == 0 || text.n == 0) {
        buf_append(out, text.p, text.n);
        return false;
    }
    size_t begin = 0;
    buf_append(&s->held, text.p, text.n);
    struct bytes all = {s->held.data, s->held.len};
    int found = find_first(s, all, &begin);
    if (found >= 0) {
        buf_append(out, all.p, include ? begin + s->word[found].n : begin);
        buf_reset(&s->held);
        *which = found;
        return true;
    }
    size_t keep = undecided(s, all);
    buf_append(out, all.p, all.n - keep);
    buf_drop(&s->held, all.n - keep);
    return false;
}

void stop_flush(struct stop *s, struct buf *out)
{
    buf_append(out, s->held.data, s->held.len);
    buf_reset(&s->held);
}
