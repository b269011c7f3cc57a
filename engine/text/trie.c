/* trie.c - see trie.h. A vocabulary's nodes have one way on most of the time, which lies in the
 * node; the rest is a table of edges for all nodes, a tenth of what 256 a node would take. */
#include "engine/text/trie.h"

#include "kernels/base/mem.h"

enum { MAX_BYTES = 1 << 28 };

enum status trie_init(struct trie *t, size_t n_bytes)
{
    size_t slots = 16;
    if (n_bytes > MAX_BYTES)
        return fail(ERR_FORMAT, "tokenizer: the tokens have %zu bytes", n_bytes);
    while (slots < 2 * (n_bytes + 1))
        slots *= 2;
    t->mask = (uint32_t)(slots - 1);
    t->edge = xmalloc(slots * sizeof *t->edge);
    for (size_t i = 0; i < slots; i++)
        t->edge[i].byte = -1;
    t->node = xmalloc((n_bytes + 1) * sizeof *t->node);
    t->node[0] = (struct trie_node){-1, -1, 0};
    t->n_nodes = 1;
    return OK;
}

void trie_clear(struct trie *t)
{
    xfree(t->edge);
    xfree(t->node);
    *t = (struct trie){0};
}

void trie_add(struct trie *t, struct bytes piece, int32_t id)
{
    int32_t at = 0;
    for (size_t i = 0; i < piece.n; i++) {
        int32_t to = trie_step(t, at, piece.p[i]);
        int byte = (unsigned char)piece.p[i];
        if (to < 0) {
            to = t->n_nodes++;
            t->node[to] = (struct trie_node){-1, -1, 0};
            if (t->node[at].byte < 0)
                t->node[at] = (struct trie_node){t->node[at].id, byte, to};
            else
                *trie_edge_at(t, at, byte) = (struct trie_edge){at, to, byte};
        }
        at = to;
    }
    t->node[at].id = id;
}
