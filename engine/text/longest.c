/* longest.c - RWKV's "world" tokenizers: at each place the longest token that the text
 * goes on with.
 *
 * Tokens are bytes, not characters, and some are parts of characters; so the text is taken as it
 * stands, be it UTF-8 or not. GGUF files spell them as Python writes bytes. A byte that begins no
 * token becomes the unknown token. */
#include "engine/text/pipeline.h"
#include "engine/text/trie.h"
#include "kernels/base/mem.h"

struct longest {
    const struct vocab *v;
    struct trie trie;
    int32_t unk;
};

static bool is_word(const struct vocab *v, int32_t id)
{
    return v->type[id] == TOKEN_NORMAL || v->type[id] == TOKEN_USER;
}

enum status longest_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out)
{
    struct longest *l = xcalloc(1, sizeof *l);
    size_t n_bytes = 0;
    *out = l;
    l->v = v;
    l->unk = spec->unk;
    for (int32_t id = 0; id < v->n; id++)
        n_bytes += is_word(v, id) ? vocab_piece(v, id).n : 0;
    TRY(trie_init(&l->trie, n_bytes));
    for (int32_t id = 0; id < v->n; id++)
        if (is_word(v, id))
            trie_add(&l->trie, vocab_piece(v, id), id);
    return OK;
}

static void close_longest(void *model)
{
    struct longest *l = model;
    if (l)
        trie_clear(&l->trie);
    xfree(l);
}

static void *begin_longest(const void *model, size_t text_bytes)
{
    (void)text_bytes;
    return (void *)(uintptr_t)model; /* a run writes to nothing */
}

static void end_longest(void *run)
{
    (void)run;
}

static void word_longest(void *run, struct bytes word, struct tokens *out)
{
    const struct longest *l = run;
    for (size_t at = 0, end; at < word.n; at = end) {
        int32_t node = 0, id = l->unk;
        end = at + 1;
        for (size_t i = at; i < word.n && (node = trie_step(&l->trie, node, word.p[i])) >= 0; i++)
            if (l->trie.node[node].id >= 0) {
                id = l->trie.node[node].id;
                end = i + 1;
            }
        if (id >= 0)
            tokens_push(out, id);
    }
}

const struct word_model *longest_model(void)
{
    static const struct word_model model = {close_longest, begin_longest, word_longest,
                                            end_longest};
    return &model;
}
