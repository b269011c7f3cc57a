/* special.c - a byte trie whose root is a table of 256, since at nearly every byte of a text the
 * answer is "no token begins here". Below, children are a list: special tokens share long prefixes.
 */
#include "engine/text/special.h"

#include "kernels/base/mem.h"

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

static void add(struct special *s, struct bytes piece, int32_t id)
{
    int32_t node = (uint8_t)piece.p[0];
    s->node[node].used = true;
    for (size_t i = 1; i < piece.n; i++) {
        int32_t next = step(s, node, (uint8_t)piece.p[i]);
        node = next ? next : add_child(s, node, (uint8_t)piece.p[i]);
    }
    if (s->node[node].id < 0) /* of two with one spelling the first counts */
        s->node[node].id = id;
}

static bool is_special(const struct vocab *v, int32_t id, bool control)
{
    uint8_t type = v->type[id];
    return type == TOKEN_USER || (control && (type == TOKEN_CONTROL || type == TOKEN_UNKNOWN));
}

void special_init(struct special *s, const struct vocab *v)
{
    s->cap_nodes = 2 * ROOT;
    s->n_nodes = ROOT;
    s->node = xcalloc((size_t)s->cap_nodes, sizeof *s->node);
    for (int i = 0; i < ROOT; i++)
        s->node[i].id = -1;
    for (int32_t id = 0; id < v->n; id++) {
        struct bytes piece = vocab_piece(v, id);
        if (piece.n > 0 && is_special(v, id, true))
            add(s, piece, id);
    }
}

void special_clear(struct special *s)
{
    xfree(s->node);
    *s = (struct special){0};
}

/* The longest token that begins at p, -1: none. */
static int32_t longest(const struct special *s, const struct vocab *v, const char *p, size_t n,
                       bool control)
{
    int32_t best = -1, node = (uint8_t)p[0];
    for (size_t i = 1;; i++) {
        int32_t id = s->node[node].id;
        if (id >= 0 && is_special(v, id, control))
            best = id;
        if (i == n || !(node = step(s, node, (uint8_t)p[i])))
            return best;
    }
}

int32_t special_next(const struct special *s, const struct vocab *v, struct bytes text, size_t from,
                     bool control, size_t *at)
{
    for (size_t i = from; i < text.n; i++) {
        if (!s->node[(uint8_t)text.p[i]].used)
            continue;
        int32_t id = longest(s, v, text.p + i, text.n - i, control);
        if (id >= 0) {
            *at = i;
            return id;
        }
    }
    return -1;
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
