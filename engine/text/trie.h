/* trie.h - a set of tokens, walked byte by byte. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_TRIE_H
#define ENGINE_TEXT_TRIE_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

struct trie_edge {
    int32_t from, to;
    int byte; /* -1: a free slot */
};
struct trie_node {
    int32_t id;   /* the token that ends here, -1: none */
    int32_t byte; /* of the first way on, -1: there is none; most nodes have one at most */
    int32_t to;
};
struct trie {               /* zero-initialised may be cleared; immutable once filled */
    struct trie_edge *edge; /* the further ways, found by hash */
    uint32_t mask;
    struct trie_node *node; /* node 0 is the root */
    int32_t n_nodes;
};

/* Room for tokens of so many bytes together. ERR_FORMAT: more than a vocabulary can have. */
enum status trie_init(struct trie *t, size_t n_bytes);
void trie_clear(struct trie *t);
/* Of two tokens with the same bytes the last stays. */
void trie_add(struct trie *t, struct bytes piece, int32_t id);

/* The edge, or the free slot where it belongs. */
static inline struct trie_edge *trie_edge_at(const struct trie *t, int32_t from, int byte)
{
    uint64_t h = ((uint64_t)(uint32_t)from << 8 | (unsigned)byte) * 0x9e3779b97f4a7c15u;
    uint32_t i = (uint32_t)(h >> 32) & t->mask;
    while (t->edge[i].byte >= 0 && (t->edge[i].from != from || t->edge[i].byte != byte))
        i = (i + 1) & t->mask;
    return &t->edge[i];
}

/* The node that a byte leads to, -1: no token goes on so. */
static inline int32_t trie_step(const struct trie *t, int32_t node, char byte)
{
    const struct trie_node *n = &t->node[node];
    if (n->byte == (unsigned char)byte)
        return n->to;
    const struct trie_edge *e = trie_edge_at(t, node, (unsigned char)byte);
    return e->byte < 0 ? -1 : e->to;
}

#endif
