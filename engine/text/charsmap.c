/* charsmap.c - the table: a length (u32), a double-array trie of so many bytes (darts-clone), then
 * the replacements, each ended by a NUL; the trie's values are offsets into them.
 *
 * It is applied as the `tokenizers` package does: grapheme by grapheme, a short one as a whole
 * first, then character by character. Whatever the trie says, no read leaves the table. */
#include "engine/text/charsmap.h"

#include <string.h>
#include <utf8proc.h>

#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

enum { SHORT_GRAPHEME = 6 }; /* bytes; only shorter ones are looked up whole */

struct charsmap {
    uint32_t *unit;
    size_t n_units;
    char *text;
    size_t n_text;
};

static uint32_t u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

enum status charsmap_new(struct bytes table, struct charsmap **out)
{
    size_t trie = table.n >= 4 ? u32(table.p) : 0;
    if (table.n < 4 || trie > table.n - 4 || trie % 4 != 0 || trie == 0)
        return fail(ERR_FORMAT, "charsmap: a trie of %zu bytes in a table of %zu", trie, table.n);
    struct charsmap *m = xcalloc(1, sizeof *m);
    m->n_units = trie / 4;
    m->unit = xmalloc(trie);
    for (size_t i = 0; i < m->n_units; i++)
        m->unit[i] = u32(table.p + 4 + 4 * i);
    m->n_text = table.n - 4 - trie;
    m->text = xcalloc(m->n_text + 1, 1); /* a NUL behind the last one, too */
    memcpy(m->text, table.p + 4 + trie, m->n_text);
    if (utf8_valid_prefix(m->text, m->n_text) != m->n_text) {
        charsmap_free(m);
        return fail(ERR_FORMAT, "charsmap: the replacements are not UTF-8");
    }
    *out = m;
    return OK;
}

void charsmap_free(struct charsmap *m)
{
    if (!m)
        return;
    xfree(m->unit);
    xfree(m->text);
    xfree(m);
}

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* The replacement for the shortest entry that `key` begins with, NULL: none. */
static const char *find(const struct charsmap *m, const char *key, size_t n)
{
    size_t at = offset_of(m->unit[0]);
    for (size_t i = 0; i < n && key[i]; i++) {
        unsigned char c = (unsigned char)key[i];
        at ^= c;
        if (at >= m->n_units)
            return NULL;
        uint32_t unit = m->unit[at];
        if ((unit & (1u << 31 | 0xff)) != c)
            return NULL;
        at ^= offset_of(unit);
        if (unit >> 8 & 1) { /* it has a value, in the unit that its offset leads to */
            size_t value = at < m->n_units ? m->unit[at] & 0x7fffffff : SIZE_MAX;
            bool starts = value < m->n_text && ((unsigned char)m->text[value] & 0xc0) != 0x80;
            return starts ? m->text + value : NULL;
        }
    }
    return NULL;
}

static size_t grapheme_end(struct bytes text, size_t from)
{
    uint32_t cp, next;
    utf8proc_int32_t state = 0;
    size_t end = from + (size_t)utf8_decode(text.p + from, text.n - from, &cp);
    while (end < text.n) {
        size_t len = (size_t)utf8_decode(text.p + end, text.n - end, &next);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)cp, (utf8proc_int32_t)next, &state))
            break;
        end += len;
        cp = next;
    }
    return end;
}

void charsmap_apply(const struct charsmap *m, struct bytes text, struct buf *out)
{
    for (size_t at = 0, end; at < text.n; at = end) {
        end = grapheme_end(text, at);
        const char *whole = end - at < SHORT_GRAPHEME ? find(m, text.p + at, end - at) : NULL;
        if (whole) {
            buf_puts(out, whole);
            continue;
        }
        for (size_t i = at, len; i < end; i += len) {
            uint32_t cp;
            len = (size_t)utf8_decode(text.p + i, end - i, &cp);
            const char *to = find(m, text.p + i, len);
            if (to)
                buf_puts(out, to);
            else
                buf_append(out, text.p + i, len);
        }
    }
}
