/* special.c - a byte trie whose root is a table of 256, since at nearly every byte of a text the
 * answer is "no token begins here". Below, children are a list: special tokens share long prefixes.
 */
#include "engine/text/special.h"

#include "engine/text/charprops.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

enum { ROOT = 256 }; /* nodes 0..255: the first bytes */

struct special_node {
    int32_t id;             /* token that ends here, -1: none */
    int32_t child, sibling; /* 0: none, which a root node never is to another */
    uint8_t byte;
    bool used; /* a root node that some token begins with */
};

static int32_t step(const struct special *s, int32_t node, uint8_t byte)
{
    for (int32_t i = s->node[node].child; i; i = s->node[i].sibling)
        if (s->node[i].byte == byte)
            return i;
    return 0;
}

static int32_t add_child(struct special *s, int32_t node, uint8_t byte)
{
    if (s->n_nodes == s->cap_nodes) {
        s->cap_nodes *= 2;
        s->node = xrealloc(s->node, (size_t)s->cap_nodes * sizeof *s->node);
    }
    int32_t i = s->n_nodes++;
    s->node[i] = (struct special_node){-1, 0, s->node[node].child, byte, true};
    s->node[node].child = i;
    return i;
}

void special_add(struct special *s, struct bytes spelling, int32_t id)
{
    if (spelling.n == 0)
        return;
    int32_t node = (uint8_t)spelling.p[0];
    s->node[node].used = true;
    for (size_t i = 1; i < spelling.n; i++) {
        int32_t next = step(s, node, (uint8_t)spelling.p[i]);
        node = next ? next : add_child(s, node, (uint8_t)spelling.p[i]);
    }
    if (s->node[node].id < 0) /* of two with one spelling the first counts */
        s->node[node].id = id;
}

bool special_is(const struct vocab *v, int32_t id, bool control)
{
    uint8_t type = v->type[id];
    return type == TOKEN_USER || (control && (type == TOKEN_CONTROL || type == TOKEN_UNKNOWN));
}

void special_init(struct special *s, bool normalized)
{
    s->normalized = normalized;
    s->cap_nodes = 2 * ROOT;
    s->n_nodes = ROOT;
    s->node = xcalloc((size_t)s->cap_nodes, sizeof *s->node);
    for (int i = 0; i < ROOT; i++)
        s->node[i].id = -1;
}

void special_add_all(struct special *s, const struct vocab *v)
{
    for (int32_t id = 0; id < v->n; id++)
        if (special_is(v, id, true))
            special_add(s, vocab_piece(v, id), id);
}

void special_clear(struct special *s)
{
    xfree(s->node);
    *s = (struct special){0};
}

/* The longest token that begins at p, -1: none, and its length. */
static int32_t longest(const struct special *s, const struct vocab *v, struct bytes text,
                       bool control, size_t *length)
{
    int32_t best = -1, node = (uint8_t)text.p[0];
    for (size_t i = 1;; i++) {
        int32_t id = s->node[node].id;
        if (id >= 0 && special_is(v, id, control) &&
            s->normalized == ((v->added[id] & ADDED_NORMALIZED) != 0)) {
            best = id;
            *length = i;
        }
        if (i == text.n || !(node = step(s, node, (uint8_t)text.p[i])))
            return best;
    }
}

/* The length of the character before p[n], and which it is; n > 0. */
static size_t char_before(const char *p, size_t n, uint32_t *cp)
{
    size_t i = n - 1;
    while (i > 0 && n - i < 4 && ((unsigned char)p[i] & 0xc0) == 0x80)
        i--;
    utf8_decode(p + i, n - i, cp);
    return n - i;
}

static bool stands_alone(struct bytes text, size_t begin, size_t end)
{
    uint32_t cp;
    if (begin > 0) {
        char_before(text.p, begin, &cp);
        if (char_is_word(cp))
            return false;
    }
    if (end == text.n)
        return true;
    utf8_decode(text.p + end, text.n - end, &cp);
    return !char_is_word(cp);
}

/* The blanks around a token that takes them, but for those before `from`. */
static void take_blanks(unsigned added, struct bytes text, size_t from, struct special_hit *hit)
{
    uint32_t cp;
    for (size_t n; (added & ADDED_LSTRIP) && hit->begin > from; hit->begin -= n) {
        n = char_before(text.p, hit->begin, &cp);
        if (!char_is_white(cp) || n > hit->begin - from)
            break;
    }
    for (size_t n; (added & ADDED_RSTRIP) && hit->end < text.n; hit->end += n) {
        n = (size_t)utf8_decode(text.p + hit->end, text.n - hit->end, &cp);
        if (!char_is_white(cp))
            break;
    }
}

bool special_next(const struct special *s, const struct vocab *v, struct bytes text, size_t from,
                  bool control, struct special_hit *hit)
{
    for (size_t i = from, n; i < text.n; i++) {
        if (!s->node[(uint8_t)text.p[i]].used)
            continue;
        struct bytes rest = {text.p + i, text.n - i};
        int32_t id = longest(s, v, rest, control, &n);
        if (id < 0)
            continue;
        if ((v->added[id] & ADDED_SINGLE) && !stands_alone(text, i, i + n)) {
            i += n - 1;
            continue;
        }
        *hit = (struct special_hit){id, i, i + n};
        take_blanks(v->added[id], text, from, hit);
        return true;
    }
    return false;
}

int32_t special_find(const struct special *s, struct bytes spelling)
{
    if (spelling.n == 0)
        return -1;
    int32_t node = (uint8_t)spelling.p[0];
    for (size_t i = 1; i < spelling.n; i++)
        if (!(node = step(s, node, (uint8_t)spelling.p[i])))
            return -1;
    return s->node[node].id;
}
